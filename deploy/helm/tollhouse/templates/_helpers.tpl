{{/* The chart's name, as a label. */}}
{{- define "tollhouse.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
The name of the objects. 52 characters are the most of a StatefulSet whose pods get a label with a
hash; the headless Service has a suffix, too.
*/}}
{{- define "tollhouse.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* By which labels Services, policies and the StatefulSet find the pod. They must never change. */}}
{{- define "tollhouse.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tollhouse.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tollhouse.labels" -}}
{{ include "tollhouse.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tollhouse.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tollhouse.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tollhouse.configMapName" -}}
{{- default (include "tollhouse.fullname" .) .Values.existingConfigMap }}
{{- end }}

{{/* Refuses values that would be accepted and then not do what they say. */}}
{{- define "tollhouse.refuse" -}}
{{- if gt (int .Values.replicaCount) 1 }}
{{- fail (printf "replicaCount is %d, and can be 1 at most: sessions are in the pod's own volume, and several pods need a store that they share, which this version of Tollhouse does not have" (int .Values.replicaCount)) }}
{{- end }}
{{- if .Values.autoscaling.enabled }}
{{- fail "autoscaling.enabled must be false: several pods need a store that they share, which this version of Tollhouse does not have" }}
{{- end }}
{{- if and .Values.tls.secretName (not .Values.existingConfigMap) }}
{{- if not (regexMatch "(?m)^[^#]*\"tls/tls\\.crt\"" .Values.config) }}
{{- fail "tls.secretName is set, and config does not use it: write certificates = [{ chain = \"tls/tls.crt\", key = \"tls/tls.key\" }] in [listener.tls]" }}
{{- end }}
{{- end }}
{{- end }}
