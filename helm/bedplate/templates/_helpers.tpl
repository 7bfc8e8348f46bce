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

{{/* A running answer gets the drain time to end, then its record the same time again; see "Stopping" in README.md. */}}
{{- define "bedplate.gracePeriodSeconds" -}}
{{- add (mul 2 (int .Values.gateway.drainTimeoutSeconds)) (int .Values.gateway.preStopSleepSeconds) 15 -}}
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

{{/* USER is who the catalogue's history names for what a job applies; HOME is where libraries may write. */}}
{{- define "bedplate.environment" -}}
- name: HOME
  value: /tmp
- name: USER
  value: helm
- name: BEDPLATE_HOME
  value: /var/lib/bedplate
- name: BEDPLATE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.key }}
- name: BEDPLATE_MASTER_KEY_FILE
  value: /etc/bedplate/master/master.key
- name: BEDPLATE_LOG_FORMAT
  value: json
{{- if include "bedplate.hasSecrets" . }}
- name: BEDPLATE_SECRETS_DIR
  value: /etc/bedplate/secrets
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

{{- define "bedplate.masterKeyMount" -}}
- name: master-key
  mountPath: /etc/bedplate/master
  readOnly: true
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

{{- define "bedplate.masterKeyVolume" -}}
- name: master-key
  secret:
    secretName: {{ .Values.masterKey.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .Values.masterKey.key }}
        path: master.key
{{- end -}}
