{{- /* What is read: apps, workers, queues and tasks, and what tasks carry. */ -}}
{{- define "celeriac.readerRules" -}}
- apiGroups: [inspect.celeriac.dev]
  resources: [tasks, payloads]
  verbs: [get]
{{- end -}}

{{- define "celeriac.controllerRules" -}}
{{ include "celeriac.readerRules" . }}
- apiGroups: [inspect.celeriac.dev]
  resources: [control]
  verbs: [inspect, tune, terminate]
{{- end -}}

{{- /* Binds an account to the role of its name wherever the operator looks after apps: (list . NAME ROLE) */ -}}
{{- define "celeriac.bindAccess" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- range $namespace := $root.Values.operator.namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels: {{ include "celeriac.labels" (list $root (index $ 2)) | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $name }}}
subjects:
- {kind: ServiceAccount, name: {{ $name }}, namespace: {{ $root.Release.Namespace }}}
{{- else }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels: {{ include "celeriac.labels" (list $root (index . 2)) | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $name }}}
subjects:
- {kind: ServiceAccount, name: {{ $name }}, namespace: {{ $root.Release.Namespace }}}
{{- end }}
{{- end -}}
