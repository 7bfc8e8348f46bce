{{- define "bedplate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "bedplate.release" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bedplate.labels" -}}
{{ include "bedplate.release" . }}
app.kubernetes.io/part-of: bedplate
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* What an engine is known by, whoever deployed it: the network policies select these two labels. */}}
{{- define "bedplate.engineLabels" -}}
app.kubernetes.io/part-of: bedplate
app.kubernetes.io/component: engine
{{- end -}}

{{- define "bedplate.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Running answers get the drain time to end, calls that nobody waits for the same, then records; see "Stopping" in README.md. */}}
{{- define "bedplate.gracePeriodSeconds" -}}
{{- add (mul 3 (int .Values.gateway.drainTimeoutSeconds)) (int .Values.gateway.preStopSleepSeconds) 15 -}}
{{- end -}}

{{/* What every pod of ours has in common. Links would set BEDPLATE_PORT to a URL when the release is called bedplate. */}}
{{- define "bedplate.podBase" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "bedplate.podSecurityContext" -}}
{{ toYaml .Values.podSecurityContext }}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "bedplate.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop:
    - ALL
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* `database` beside the root is another database than the values' own. USER is who the catalogue's history names for what a job applies; HOME is where libraries may write. */}}
{{- define "bedplate.environment" -}}
{{- $database := default .Values.database .database -}}
- name: HOME
  value: /tmp
- name: USER
  value: helm
- name: BEDPLATE_HOME
  value: /var/lib/bedplate
- name: BEDPLATE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $database.existingSecret }}
      key: {{ $database.key }}
- name: BEDPLATE_MASTER_KEY_FILE
  value: /etc/bedplate/master/master.key
- name: BEDPLATE_LOG_FORMAT
  value: json
{{- if include "bedplate.hasSecrets" . }}
- name: BEDPLATE_SECRETS_DIR
  value: /etc/bedplate/secrets
{{- end }}
{{- include "bedplate.guardrailEnvironment" . }}
{{- end -}}

{{/* For every pod, because what declares a guardrail is to know what can be evaluated as well as what enforces it. */}}
{{- define "bedplate.guardrailEnvironment" }}
- name: BEDPLATE_GUARDRAIL_PROCESSES
  value: {{ int64 .Values.guardrails.processes | quote }}
- name: BEDPLATE_GUARDRAIL_QUEUE
  value: {{ int64 .Values.guardrails.queue | quote }}
{{- with .Values.guardrails.modelsFolder }}
- name: BEDPLATE_GUARDRAIL_MODELS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.guardrails.validatorsFile }}
- name: BEDPLATE_GUARDRAIL_VALIDATORS
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "bedplate.volumeMounts" -}}
- name: home
  mountPath: /var/lib/bedplate
- name: tmp
  mountPath: /tmp
{{- if include "bedplate.hasSecrets" . }}
- name: secrets
  mountPath: /etc/bedplate/secrets
  readOnly: true
{{- end }}
{{- end -}}

{{- define "bedplate.volumes" -}}
- name: home
  emptyDir:
    sizeLimit: 64Mi
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if include "bedplate.hasSecrets" . }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- with .Values.providerSecrets.existingSecret }}
      - secret:
          name: {{ . }}
      {{- end }}
      {{- if .Values.engine.enabled }}
      - secret:
          name: {{ .Values.engine.apiKey.existingSecret }}
          items:
            - key: {{ .Values.engine.apiKey.key }}
              path: chart-engine
      {{- end }}
{{- end }}
{{- end -}}

{{- define "bedplate.hasSecrets" -}}
{{- if or .Values.providerSecrets.existingSecret .Values.engine.enabled }}true{{ end -}}
{{- end -}}

{{/* How conversations are kept: for every pod that reads or deletes them, so that all of them come to the same. */}}
{{- define "bedplate.sessionEnvironment" -}}
- name: BEDPLATE_RESPONSE_TIMEOUT_S
  value: {{ .Values.gateway.responseTimeoutSeconds | quote }}
- name: BEDPLATE_SESSION_IDLE_S
  value: {{ int64 .Values.session.idleSeconds | quote }}
- name: BEDPLATE_SESSION_RETENTION_S
  value: {{ int64 .Values.session.retentionSeconds | quote }}
- name: BEDPLATE_SESSION_STEPS
  value: {{ int64 .Values.session.steps | quote }}
- name: BEDPLATE_SESSION_STEP_BYTES
  value: {{ int64 .Values.session.stepBytes | quote }}
- name: BEDPLATE_REPLY_RETENTION_S
  value: {{ int64 .Values.session.replyRetentionSeconds | quote }}
{{- $keys := .Values.sessionKeys }}
- name: BEDPLATE_SESSION_KEYS
  value: >-
    {{- include "bedplate.sessionKeys" . | nindent 4 }}
{{- if include "bedplate.hasKeys" (dict "root" . "of" "environment") }}
- name: BEDPLATE_SESSION_KEY_MATERIAL
  valueFrom:
    secretKeyRef:
      name: {{ required "sessionKeys.environment.existingSecret: the provider environment needs it" $keys.environment.existingSecret }}
      key: {{ $keys.environment.key }}
{{- end }}
{{- if include "bedplate.hasKeys" (dict "root" . "of" "vault") }}
- name: BEDPLATE_VAULT_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ required "sessionKeys.vault.existingSecret: the provider vault needs it" $keys.vault.existingSecret }}
      key: {{ $keys.vault.key }}
{{- if $keys.vault.caSecret }}
- name: BEDPLATE_VAULT_CA_FILE
  value: /etc/bedplate/vault/ca.crt
{{- end }}
{{- end }}
{{- if and (include "bedplate.hasKeys" (dict "root" . "of" "kms")) $keys.kms.region }}
- name: BEDPLATE_KMS_REGION
  value: {{ $keys.kms.region | quote }}
{{- end }}
{{- if .Values.keyDatabase.existingSecret }}
- name: BEDPLATE_KEY_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.keyDatabase.existingSecret }}
      key: {{ .Values.keyDatabase.key }}
{{- end }}
{{- end -}}

{{/* The providers of session keys as the gateway's setting has them: the one that wraps first. */}}
{{- define "bedplate.sessionKeys" -}}
{{- $keys := .Values.sessionKeys -}}
{{- $parts := list -}}
{{- range prepend $keys.alsoUnwrap $keys.provider -}}
{{- if eq . "file" -}}
{{- $parts = append $parts "file:/etc/bedplate/session-keys/keys.json" -}}
{{- else if eq . "vault" -}}
{{- $parts = append $parts (printf "vault:%s" (required "sessionKeys.vault.address: the provider vault needs it" $keys.vault.address)) -}}
{{- else if eq . "kms" -}}
{{- $parts = append $parts (printf "kms:%s" (required "sessionKeys.kms.key: the provider kms needs it" $keys.kms.key)) -}}
{{- else -}}
{{- $parts = append $parts . -}}
{{- end -}}
{{- end -}}
{{- join ",\n" $parts -}}
{{- end -}}

{{/* Whether a provider of session keys is used. Arguments: root, of. */}}
{{- define "bedplate.hasKeys" -}}
{{- $keys := .root.Values.sessionKeys -}}
{{- if has .of (prepend $keys.alsoUnwrap $keys.provider) }}true{{ end -}}
{{- end -}}

{{/* What only pods that open conversations have: the master key, and the files of other providers of session keys. */}}
{{- define "bedplate.keyMounts" -}}
- name: master-key
  mountPath: /etc/bedplate/master
  readOnly: true
{{- if include "bedplate.hasKeys" (dict "root" . "of" "file") }}
- name: session-keys
  mountPath: /etc/bedplate/session-keys
  readOnly: true
{{- end }}
{{- if and (include "bedplate.hasKeys" (dict "root" . "of" "vault")) .Values.sessionKeys.vault.caSecret }}
- name: vault-ca
  mountPath: /etc/bedplate/vault
  readOnly: true
{{- end }}
{{- end -}}

{{- define "bedplate.keyVolumes" -}}
- name: master-key
  secret:
    secretName: {{ .Values.masterKey.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .Values.masterKey.key }}
        path: master.key
{{- $keys := .Values.sessionKeys }}
{{- if include "bedplate.hasKeys" (dict "root" . "of" "file") }}
- name: session-keys
  secret:
    secretName: {{ required "sessionKeys.file.existingSecret: the provider file needs it" $keys.file.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ $keys.file.key }}
        path: keys.json
{{- end }}
{{- if and (include "bedplate.hasKeys" (dict "root" . "of" "vault")) $keys.vault.caSecret }}
- name: vault-ca
  secret:
    secretName: {{ $keys.vault.caSecret }}
    defaultMode: 0440
    items:
      - key: {{ $keys.vault.caKey }}
        path: ca.crt
{{- end }}
{{- end -}}
