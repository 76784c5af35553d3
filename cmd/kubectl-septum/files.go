package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/septum-dev/septum/policy/ingest"
)

// maxDocument bounds one document of a file, in bytes.
const maxDocument = 8 << 20

// readFiles reads manifests. What a cluster would add is made up: addresses, a node, the pods
// of workloads, the namespaces that are named and the endpoints of services.
func readFiles(paths []string) (ingest.Objects, error) {
	var out ingest.Objects
	docs, err := documents(paths)
	if err != nil {
		return out, err
	}
	for _, d := range docs {
		if err := add(&out, d.object); err != nil {
			return out, fmt.Errorf("%s: %s %q: %w", d.file, d.object.GetKind(), d.object.GetName(), err)
		}
	}
	complete(&out)
	return out, nil
}

// document is an object and the file that it stands in.
type document struct {
	file   string
	object unstructured.Unstructured
}

// documents returns the objects of all files, those of directories by name, lists opened.
func documents(paths []string) ([]document, error) {
	var out []document
	for _, path := range paths {
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			if ext := filepath.Ext(file); file != path && ext != ".yaml" && ext != ".yml" && ext != ".json" {
				return nil
			}
			found, err := read(file)
			out = append(out, found...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
	}
	return out, nil
}

func read(file string) ([]document, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []document
	decoder := yaml.NewYAMLOrJSONDecoder(io.LimitReader(f, maxDocument), 4096)
	for n := 1; ; n++ {
		var u unstructured.Unstructured
		if err := decoder.Decode(&u.Object); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s, document %d: %w", file, n, err)
		}
		switch {
		case len(u.Object) == 0:
		case u.IsList():
			err := u.EachListItem(func(o runtime.Object) error {
				if item, ok := o.(*unstructured.Unstructured); ok {
					out = append(out, document{file, *item})
				}
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("%s, document %d: %w", file, n, err)
			}
		default:
			out = append(out, document{file, u})
		}
	}
}

// add sorts an object in. Kinds that no policy is about are left out.
func add(out *ingest.Objects, u unstructured.Unstructured) error {
	kind := u.GroupVersionKind()
	if isPolicy(kind) {
		if u.GetNamespace() == "" && !strings.Contains(kind.Kind, "Cluster") {
			u.SetNamespace("default")
		}
		u.SetUID(types.UID(kind.Kind + "/" + u.GetNamespace() + "/" + u.GetName()))
		u.SetGeneration(1)
		out.Policies = append(out.Policies, u)
		return nil
	}
	switch kind.Kind {
	case "CiliumCIDRGroup":
		out.CIDRGroups = append(out.CIDRGroups, u)
	case "Pod":
		return typed(u, &out.Pods)
	case "Namespace":
		return typed(u, &out.Namespaces)
	case "Node":
		return typed(u, &out.Nodes)
	case "Service":
		return typed(u, &out.Services)
	case "Secret":
		return typed(u, &out.Secrets)
	case "EndpointSlice":
		return typed(u, &out.EndpointSlices)
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job":
		pod, err := podOf(u)
		if err != nil {
			return err
		}
		out.Pods = append(out.Pods, pod)
	}
	return nil
}

func typed[T any](u unstructured.Unstructured, to *[]T) error {
	var item T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &item); err != nil {
		return err
	}
	*to = append(*to, item)
	return nil
}

// podOf is a pod as the workload would make it, under the workload's own name.
func podOf(u unstructured.Unstructured) (corev1.Pod, error) {
	var pod corev1.Pod
	template, _, err := unstructured.NestedMap(u.Object, "spec", "template")
	if err != nil {
		return pod, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template, &pod); err != nil {
		return pod, err
	}
	controls := true
	pod.Name, pod.Namespace = u.GetName(), u.GetNamespace()
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: u.GetKind(), Name: u.GetName(), Controller: &controls}}
	return pod, nil
}
