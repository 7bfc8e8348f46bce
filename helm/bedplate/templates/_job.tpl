{{/* A pod of the image that runs one command and ends. Arguments: root, name, command; masterKey and declared mount these. */}}
{{- define "bedplate.jobPod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "bedplate.labels" $root | nindent 4 }}
    app.kubernetes.io/component: job
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 5
  {{- include "bedplate.podBase" $root | nindent 2 }}
  securityContext:
    {{- include "bedplate.podSecurityContext" $root | trim | nindent 4 }}
  containers:
    - name: {{ .name }}
      image: {{ include "bedplate.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command:
        {{- toYaml .command | nindent 8 }}
      securityContext:
        {{- include "bedplate.containerSecurityContext" $root | nindent 8 }}
      env:
        {{- include "bedplate.environment" $root | nindent 8 }}
      resources:
        {{- toYaml $root.Values.jobs.resources | nindent 8 }}
      volumeMounts:
        {{- include "bedplate.volumeMounts" $root | nindent 8 }}
        {{- if .masterKey }}
        {{- include "bedplate.masterKeyMount" $root | nindent 8 }}
        {{- end }}
        {{- if .declared }}
        - name: declared
          mountPath: /etc/bedplate/declared
          readOnly: true
        {{- end }}
  volumes:
    {{- include "bedplate.volumes" $root | nindent 4 }}
    {{- if .masterKey }}
    {{- include "bedplate.masterKeyVolume" $root | nindent 4 }}
    {{- end }}
    {{- if .declared }}
    - name: declared
      configMap:
        name: {{ include "bedplate.fullname" $root }}-declared
    {{- end }}
{{- end -}}
