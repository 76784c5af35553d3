package enforcer

import (
	"os"
	"slices"

	"github.com/septum-dev/septum/enforcer/names"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
)

// Store.

func (w *world) Load() (xds.Update, policy.Numbers, error) {
	if w.stored == nil {
		return xds.Update{}, policy.Numbers{}, os.ErrNotExist
	}
	return *w.stored, w.numbers, nil
}

func (w *world) SaveNumbers(n policy.Numbers) error {
	w.set(func() { w.numbers = n })
	return nil
}

func (w *world) SaveUpdate(u xds.Update) error {
	w.set(func() {
		w.stored = &u
		w.note("saved %s", u.NodeVersion)
	})
	return nil
}

func (w *world) LoadStarts() ([]Started, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.starting), w.failing["starts"]
}

func (w *world) SaveStarts(s []Started) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starting = slices.Clone(s)
	return w.failing["starts"]
}

func (w *world) LoadNames() ([]names.Fact, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.facts), w.failing["names"]
}

func (w *world) AppendNames(f []names.Fact) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts = append(w.facts, f...)
	return w.failing["names"]
}

func (w *world) SaveNames(f []names.Fact) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts = slices.Clone(f)
	return w.failing["names"]
}
