{{/* Labels of every object; takes (list $ "component"). */}}
{{- define "septum.labels" -}}
{{- $root := index . 0 -}}
{{ include "septum.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: septum
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{/* Labels that select a component's pods; they never change. */}}
{{- define "septum.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: septum
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* An image's name; takes (list $ .Values.operator.image). */}}
{{- define "septum.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := $image.registry | default $root.Values.image.registry -}}
{{- $name := $image.repository -}}
{{- if $registry }}{{ $name = printf "%s/%s" (trimSuffix "/" $registry) $name }}{{ end -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $name $image.digest }}
{{- else -}}
{{ printf "%s:%s" $name ($image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{/* Pull secrets of a pod. */}}
{{- define "septum.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The enforcer's capabilities: BPF and PERFMON load programs, NET_ADMIN attaches them and makes links
     and routes, SYS_ADMIN enters the network namespaces of pods. */}}
{{- define "septum.enforcerSecurityContext" -}}
runAsUser: 0
runAsGroup: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add: [BPF, NET_ADMIN, PERFMON, SYS_ADMIN]
{{- end -}}

{{/* The host directories that the enforcer and its cleanup use. */}}
{{- define "septum.enforcerMounts" -}}
# HostToContainer: namespaces of pods that come later must appear here too.
- {name: netns, mountPath: /run/netns, mountPropagation: HostToContainer, readOnly: true}
- {name: run, mountPath: /run/septum}
- {name: state, mountPath: /var/lib/septum}
- {name: bpf, mountPath: /sys/fs/bpf, mountPropagation: HostToContainer}
- {name: cgroup, mountPath: /sys/fs/cgroup, mountPropagation: HostToContainer, readOnly: true}
{{- end -}}

{{- define "septum.enforcerVolumes" -}}
- name: netns
  hostPath: {path: {{ .Values.paths.netns }}, type: DirectoryOrCreate}
- name: run
  hostPath: {path: /run/septum, type: DirectoryOrCreate}
- name: state
  hostPath: {path: /var/lib/septum, type: DirectoryOrCreate}
- name: bpf
  hostPath: {path: {{ .Values.paths.bpf }}, type: Directory}
- name: cgroup
  hostPath: {path: {{ .Values.paths.cgroup }}, type: Directory}
{{- end -}}

{{/* The enforcer's arguments about the CNI plugin. */}}
{{- define "septum.cniArgs" -}}
- --cni={{ .Values.cni.enabled }}
- --cni-timeout={{ .Values.cni.timeout }}
- --cni-on-failure={{ .Values.cni.onFailure }}
- --cni-exempt-namespaces={{ prepend .Values.cni.exemptNamespaces .Release.Namespace | uniq | join "," }}
{{- end -}}

{{/* The host directories of the network's plugins and configurations. */}}
{{- define "septum.cniMounts" -}}
- {name: cni-bin, mountPath: /opt/cni/bin}
- {name: cni-conf, mountPath: /etc/cni/net.d}
{{- end -}}

{{- define "septum.cniVolumes" -}}
- name: cni-bin
  hostPath: {path: {{ .Values.cni.binDir }}, type: DirectoryOrCreate}
- name: cni-conf
  hostPath: {path: {{ .Values.cni.confDir }}, type: DirectoryOrCreate}
{{- end -}}

{{/* A CRD with the chart's labels; it is kept on uninstall, and the policies with it. */}}
{{- define "septum.crd" -}}
{{- $root := index . 0 -}}
{{- $crd := index . 1 -}}
{{- $annotations := merge (dict "helm.sh/resource-policy" "keep") ($crd.metadata.annotations | default dict) -}}
{{- $labels := merge (include "septum.labels" (list $root "crds") | fromYaml) ($crd.metadata.labels | default dict) -}}
{{- $_ := set $crd.metadata "annotations" $annotations -}}
{{- $_ := set $crd.metadata "labels" $labels -}}
{{ toYaml $crd }}
{{- end -}}

{{/* The admission policies of a file, with the chart's labels. */}}
{{- define "septum.admission" -}}
{{- $root := index . 0 -}}
{{- $labels := include "septum.labels" (list $root "crds") | fromYaml -}}
{{- range $i, $text := regexSplit "(?m)^---$" (index . 1) -1 -}}
{{- $object := fromYaml $text -}}
{{- if $object -}}
{{- $_ := set $object.metadata "labels" $labels }}
---
{{ toYaml $object }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" where somebody else makes the authority's Secret, else "". */}}
{{- define "septum.caExternal" -}}
{{- if or .Values.operator.ca.external .Values.operator.ca.certManager.enabled }}true{{ end -}}
{{- end -}}
