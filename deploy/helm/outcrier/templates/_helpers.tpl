{{- define "outcrier.name" -}}
{{- if contains "outcrier" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-outcrier" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "outcrier.selector" -}}
app.kubernetes.io/name: outcrier
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: node
{{- end }}

{{- define "outcrier.migrateSelector" -}}
app.kubernetes.io/name: outcrier
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: migrate
{{- end }}

{{- define "outcrier.labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "outcrier.image" -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Nine tenths of a limit of memory, as Go writes it. */}}
{{- define "outcrier.goMemLimit" -}}
{{- if hasSuffix "Gi" . }}{{ div (mul (trimSuffix "Gi" . | int) 1024 9) 10 }}MiB{{ else }}{{ div (mul (trimSuffix "Mi" . | int) 9) 10 }}MiB{{ end }}
{{- end }}

{{/* A value as the server reads it: YAML's numbers are floats, and 1000000 would be 1e+06. */}}
{{- define "outcrier.setting" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* What pgx reads, as libpq does, for what the URL leaves out. */}}
{{- define "outcrier.tlsEnv" -}}
- {name: PGSSLMODE, value: {{ .Values.database.tls.mode }}}
{{- if or .Values.database.tls.caSecret .Values.database.tls.caConfigMap }}
- {name: PGSSLROOTCERT, value: /etc/outcrier/postgres-ca/ca.crt}
{{- end }}
{{- end }}

{{- define "outcrier.tlsMounts" -}}
{{- if or .Values.database.tls.caSecret .Values.database.tls.caConfigMap }}
- {name: postgres-ca, mountPath: /etc/outcrier/postgres-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "outcrier.tlsVolumes" -}}
{{- with .Values.database.tls }}
{{- if .caSecret }}
- name: postgres-ca
  secret:
    secretName: {{ .caSecret | quote }}
    items: [{key: {{ .caKey | quote }}, path: ca.crt}]
{{- else if .caConfigMap }}
- name: postgres-ca
  configMap:
    name: {{ .caConfigMap | quote }}
    items: [{key: {{ .caKey | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}

{{- define "outcrier.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "outcrier.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Mistakes that the schema of the values can't see. */}}
{{- define "outcrier.check" -}}
{{- if not (or .Values.auth.jwksUrl .Values.auth.publicKeysSecret .Values.auth.secret) }}
{{- fail "set auth.jwksUrl, auth.publicKeysSecret or auth.secret: without a key no token can be verified, and the nodes refuse to start" }}
{{- end }}
{{- if and .Values.database.tls.caSecret .Values.database.tls.caConfigMap }}
{{- fail "set database.tls.caSecret or database.tls.caConfigMap, not both" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "set ingress.hosts: the names that the Ingress answers to" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.trustProxies) }}
{{- fail "set trustProxies to the network of the ingress controller's Pods: otherwise all clients have its address, and share its limits" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) }}
{{- fail "metrics.serviceMonitor needs metrics.enabled" }}
{{- end }}
{{- end }}
