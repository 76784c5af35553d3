package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// audience is the one that enforcers' tokens are for: no other token is of any use here.
const audience = "septum"

// The extra fields of a token that is bound to a pod.
const (
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
)

// authenticator finds the node that a service account token speaks for: the one that
// runs the enforcer's pod which the token is bound to.
type authenticator struct {
	client client.Client
	// reader asks the API server itself: a cache may not know a new pod yet.
	reader         client.Reader
	namespace      string
	serviceAccount string
}

func (a *authenticator) authenticate(ctx context.Context, token string) (string, error) {
	if token == "" {
		return "", errors.New("there is no token")
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{audience}}}
	if err := a.client.Create(ctx, review); err != nil {
		return "", fmt.Errorf("review the token: %w", err)
	}
	name, uid, node, err := a.claims(review.Status)
	if err != nil {
		return "", err
	}
	var pod corev1.Pod
	if err := a.reader.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: name}, &pod); err != nil {
		return "", fmt.Errorf("look for the token's pod: %w", err)
	}
	switch {
	case string(pod.UID) != uid:
		return "", fmt.Errorf("pod %s is not the one that the token is bound to", name)
	case pod.Spec.ServiceAccountName != a.serviceAccount:
		return "", fmt.Errorf("pod %s has another service account", name)
	case pod.Spec.NodeName == "":
		return "", fmt.Errorf("pod %s is on no node", name)
	case node != "" && node != pod.Spec.NodeName:
		return "", fmt.Errorf("pod %s is on node %s, and the token says %s", name, pod.Spec.NodeName, node)
	}
	return pod.Spec.NodeName, nil
}

// claims checks whose the token is, and returns the pod that it is bound to, and the
// node if the API server says so.
func (a *authenticator) claims(s authenticationv1.TokenReviewStatus) (pod, uid, node string, err error) {
	switch {
	case !s.Authenticated:
		return "", "", "", errors.New("the token is not valid")
	case !slices.Contains(s.Audiences, audience):
		return "", "", "", errors.New("the token is for another audience")
	case s.User.Username != "system:serviceaccount:"+a.namespace+":"+a.serviceAccount:
		return "", "", "", fmt.Errorf("the token is of %q", s.User.Username)
	}
	one := func(key string) string {
		if values := s.User.Extra[key]; len(values) == 1 {
			return values[0]
		}
		return ""
	}
	if pod, uid = one(extraPodName), one(extraPodUID); pod == "" || uid == "" {
		return "", "", "", errors.New("the token is not bound to a pod")
	}
	return pod, uid, one(extraNodeName), nil
}
