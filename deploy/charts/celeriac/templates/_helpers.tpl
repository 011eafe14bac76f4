{{- define "celeriac.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What a component is called: (list . "operator") */ -}}
{{- define "celeriac.name" -}}
{{- printf "%s-%s" (include "celeriac.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{- /* What its pods are selected by; never changed, since a selector cannot be. */ -}}
{{- define "celeriac.selector" -}}
app.kubernetes.io/name: celeriac
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "celeriac.labels" -}}
{{- $root := index . 0 -}}
{{ include "celeriac.selector" . }}
app.kubernetes.io/part-of: celeriac
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- /* An image's whole name: (list . .Values.operator.image) */ -}}
{{- define "celeriac.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository -}}
{{- with $root.Values.image.registry -}}
{{- $name = printf "%s/%s" (trimSuffix "/" .) $name -}}
{{- end -}}
{{- $name = printf "%s:%s" $name (default $root.Chart.AppVersion $image.tag) -}}
{{- with $image.digest -}}
{{- $name = printf "%s@%s" $name . -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- /* The restricted Pod Security Standard, and the user of our images. */ -}}
{{- define "celeriac.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "celeriac.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* The way to the API server, mounted where it is needed and nowhere else. */ -}}
{{- define "celeriac.apiToken" -}}
name: api
projected:
  defaultMode: 0440
  sources:
  - serviceAccountToken: {path: token, expirationSeconds: 3607}
  - configMap:
      name: kube-root-ca.crt
      items: [{key: ca.crt, path: ca.crt}]
  - downwardAPI:
      items:
      - path: namespace
        fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}
{{- end -}}

{{- define "celeriac.apiTokenMount" -}}
name: api
mountPath: /var/run/secrets/kubernetes.io/serviceaccount
readOnly: true
{{- end -}}

{{- /* Where pods are put: (list . .Values.operator) */ -}}
{{- define "celeriac.placement" -}}
{{- $root := index . 0 -}}
{{- $of := index . 1 -}}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 0 }}
{{- end }}
{{- with $of.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $of.tolerations }}
tolerations: {{ toYaml . | nindent 0 }}
{{- end }}
{{- with $of.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with $of.topologySpreadConstraints }}
topologySpreadConstraints: {{ toYaml . | nindent 0 }}
{{- end }}
{{- with $of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- /* The Secret with the aggregator's certificate. */ -}}
{{- define "celeriac.tlsSecret" -}}
{{- default (include "celeriac.name" (list . "aggregator-tls")) .Values.aggregator.tls.secretName -}}
{{- end -}}

{{- define "celeriac.aggregatorHost" -}}
{{- printf "%s.%s.svc" (include "celeriac.name" (list . "aggregator")) .Release.Namespace -}}
{{- end -}}

{{- /* Where inspectors and the operator find the aggregator; empty without one. */ -}}
{{- define "celeriac.aggregatorUrl" -}}
{{- if .Values.aggregator.enabled -}}
{{- printf "https://%s:%v" (include "celeriac.aggregatorHost" .) .Values.aggregator.service.port -}}
{{- else -}}
{{- .Values.operator.aggregatorUrl -}}
{{- end -}}
{{- end -}}

{{- /* What the certificate is for. localhost is what a port-forward ends in. */ -}}
{{- define "celeriac.dnsNames" -}}
{{- $name := include "celeriac.name" (list . "aggregator") -}}
{{- $names := list $name (printf "%s.%s" $name .Release.Namespace) (include "celeriac.aggregatorHost" .) (printf "%s.cluster.local" (include "celeriac.aggregatorHost" .)) "localhost" -}}
{{- toYaml (concat $names .Values.aggregator.tls.dnsNames) -}}
{{- end -}}

{{- /* The operator's rules are those of deploy/rbac itself: files/rbac.yaml is a link to it. (list . "ClusterRole") */ -}}
{{- define "celeriac.rules" -}}
{{- $kind := index . 1 -}}
{{- range splitList "\n---\n" ((index . 0).Files.Get "files/rbac.yaml") -}}
{{- $document := fromYaml . -}}
{{- if eq $document.kind $kind -}}
{{ toYaml $document.rules }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What does not go together. */ -}}
{{- define "celeriac.validate" -}}
{{- $tls := .Values.aggregator.tls -}}
{{- $auth := .Values.aggregator.auth -}}
{{- if not (or .Values.operator.enabled .Values.aggregator.enabled) -}}
{{- fail "operator.enabled and aggregator.enabled are both false: nothing would be installed" -}}
{{- end -}}
{{- if .Values.aggregator.enabled -}}
{{- if and (eq $tls.mode "secret") (not $tls.secretName) -}}
{{- fail "aggregator.tls.mode is secret, but aggregator.tls.secretName is empty: name a Secret with tls.crt, tls.key and ca.crt, or set aggregator.tls.mode to generated or certManager" -}}
{{- end -}}
{{- if and (eq $auth.mode "tokens") (not $auth.tokensSecret.name) -}}
{{- fail "aggregator.auth.mode is tokens, but aggregator.auth.tokensSecret.name is empty: name a Secret with the file of tokens, or set aggregator.auth.mode to kubernetes" -}}
{{- end -}}
{{- if and (eq $auth.mode "tokens") .Values.operator.enabled -}}
{{- fail "aggregator.auth.mode is tokens, but operator.enabled is true: its inspectors have tokens of their ServiceAccounts, which only mode kubernetes knows; set aggregator.auth.mode to kubernetes or operator.enabled to false" -}}
{{- end -}}
{{- if .Values.operator.aggregatorUrl -}}
{{- fail "operator.aggregatorUrl is set, but this chart's own aggregator is enabled: leave it empty, or set aggregator.enabled to false" -}}
{{- end -}}
{{- if and .Values.monitoring.aggregator.enabled (not .Values.monitoring.aggregator.tokenSecret.name) -}}
{{- fail "monitoring.aggregator.enabled is true, but monitoring.aggregator.tokenSecret.name is empty: the aggregator shows metrics to nobody without a token; name a Secret with one" -}}
{{- end -}}
{{- else if .Values.monitoring.aggregator.enabled -}}
{{- fail "monitoring.aggregator.enabled is true, but aggregator.enabled is false" -}}
{{- end -}}
{{- if and .Values.operator.aggregatorUrl (not .Values.operator.enabled) -}}
{{- fail "operator.aggregatorUrl is set, but operator.enabled is false" -}}
{{- end -}}
{{- if and .Values.monitoring.operator.enabled (not .Values.operator.enabled) -}}
{{- fail "monitoring.operator.enabled is true, but operator.enabled is false" -}}
{{- end -}}
{{- end -}}
