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
  verbs: [create]
{{- end -}}

{{- /* Binds an account to a role wherever the operator looks after apps: (list . NAME ROLE COMPONENT [ACCOUNT]) */ -}}
{{- define "celeriac.bindAccess" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $role := index . 2 -}}
{{- $component := index . 3 -}}
{{- $account := $name -}}
{{- if gt (len .) 4 }}{{ $account = index . 4 }}{{ end -}}
{{- range $namespace := $root.Values.operator.namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels: {{ include "celeriac.labels" (list $root $component) | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $role }}}
subjects:
- {kind: ServiceAccount, name: {{ $account }}, namespace: {{ $root.Release.Namespace }}}
{{- else }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels: {{ include "celeriac.labels" (list $root $component) | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $role }}}
subjects:
- {kind: ServiceAccount, name: {{ $account }}, namespace: {{ $root.Release.Namespace }}}
{{- end }}
{{- end -}}
