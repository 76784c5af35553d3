// Package text writes what a Hubble server sends as the Hubble CLI writes it: for readers
// that have no Hubble CLI. Its own printer cannot be imported without the whole of Cilium.
//
// In go responses of GetFlows. Out come lines, a table or JSON; what a terminal could act
// upon never does.
package text
