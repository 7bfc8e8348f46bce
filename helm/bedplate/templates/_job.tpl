{{/* A pod of the image that runs one command and ends. Arguments: root, name, command; opensSessions gives it the keys, an own component and the account, declared mounts what is declared, database is another one. */}}
{{- define "bedplate.jobPod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "bedplate.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ if .opensSessions }}{{ .name }}{{ else }}job{{ end }}
spec:
  {{- if .opensSessions }}
  serviceAccountName: {{ include "bedplate.fullname" $root }}
  {{- end }}
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
        {{- include "bedplate.environment" (merge (dict "database" .database) $root) | nindent 8 }}
        {{- if .opensSessions }}
        {{- include "bedplate.sessionEnvironment" $root | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml $root.Values.jobs.resources | nindent 8 }}
      volumeMounts:
        {{- include "bedplate.volumeMounts" $root | nindent 8 }}
        {{- if .opensSessions }}
        {{- include "bedplate.keyMounts" $root | nindent 8 }}
        {{- end }}
        {{- if .declared }}
        - name: declared
          mountPath: /etc/bedplate/declared
          readOnly: true
        {{- end }}
  volumes:
    {{- include "bedplate.volumes" $root | nindent 4 }}
    {{- if .opensSessions }}
    {{- include "bedplate.keyVolumes" $root | nindent 4 }}
    {{- end }}
    {{- if .declared }}
    - name: declared
      configMap:
        name: {{ include "bedplate.fullname" $root }}-declared
    {{- end }}
{{- end -}}
