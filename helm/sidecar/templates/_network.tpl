{{/*
A NetworkPolicy selects pods, not containers, so it binds the app, too: what the app itself serves and calls is added
with `ingress` and `egress`. Ports come from the config; where a Vault or a Valkey stands, from the values.
*/}}
{{- define "sidecar.networkPolicy" -}}
{{- $policy := .Values.networkPolicy -}}
{{- $config := include "sidecar.config" . | fromJson -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "sidecar.metadata" (dict "top" . "suffix" "") | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "sidecar.podLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- if or $policy.monitoring (include "sidecar.hasWebhooks" .) $policy.ingress }}
  ingress:
    # Telemetry, for Prometheus. The kubelet's probes come from the node and are always let in.
    {{- with $policy.monitoring }}
    - from:
        {{- toYaml . | nindent 8 }}
      ports:
        - {protocol: TCP, port: {{ include "sidecar.telemetryPort" $ }}}
    {{- end }}
    {{- if include "sidecar.hasWebhooks" . }}
    # Webhooks.
    - ports:
        - {protocol: TCP, port: {{ include "sidecar.webhooksPort" . }}}
      {{- with $policy.webhooksFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- with $policy.ingress }}
    # The app's own.
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- else }}
  ingress: []
  {{- end }}
  egress:
    # Names.
    - to:
        {{- toYaml $policy.dns.to | nindent 8 }}
      ports:
        {{- range $policy.dns.ports }}
        - {protocol: UDP, port: {{ . | int }}}
        - {protocol: TCP, port: {{ . | int }}}
        {{- end }}
    # Vendors, their token endpoints, and secret stores of a cloud.
    - ports:
        {{- range include "sidecar.vendorPorts" $config | fromJsonArray }}
        - {protocol: TCP, port: {{ . | int }}}
        {{- end }}
      {{- if not (include "sidecar.reachesPrivate" $config) }}
      # No service has allow_private or a proxy: private addresses are nobody's.
      to:
        - ipBlock:
            cidr: 0.0.0.0/0
            except: [10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]
        - ipBlock:
            cidr: ::/0
            except: [fc00::/7, fe80::/10]
      {{- end }}
    {{- with include "sidecar.vaultPorts" $config | fromJsonArray }}
    # Vault.
    - ports:
        {{- range . }}
        - {protocol: TCP, port: {{ . | int }}}
        {{- end }}
      {{- with $policy.vault }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- with include "sidecar.valkeyPorts" $config | fromJsonArray }}
    # Valkey.
    - ports:
        {{- range . }}
        - {protocol: TCP, port: {{ . | int }}}
        {{- end }}
      {{- with $policy.valkey }}
      to:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
    {{- with include "sidecar.metadataHosts" (dict "config" $config "aws" .Values.aws) | fromJsonArray }}
    # Who the pod is, as the cloud says it.
    - to:
        {{- range . }}
        - ipBlock: {cidr: {{ . }}}
        {{- end }}
      ports:
        - {protocol: TCP, port: 80}
        - {protocol: TCP, port: 988}
    {{- end }}
    {{- with $policy.egress }}
    # The app's own, and endpoints of a cloud inside your network.
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* 443, and what else stands in the addresses of services: JSON. */}}
{{- define "sidecar.vendorPorts" -}}
{{- $ports := list 443 -}}
{{- range $url := regexFindAll "https?://[^/\"\\\\]+" (get . "services" | default dict | toJson) -1 -}}
{{- $host := regexReplaceAll "^https?://" $url "" -}}
{{- if not (regexMatch "^(localhost|127\\.|\\[::1\\])" $host) -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
{{- $ports = append $ports (int (default (ternary "80" "443" (hasPrefix "http://" $url)) $port)) -}}
{{- end -}}
{{- end -}}
{{- include "sidecar.ascending" ($ports | uniq) -}}
{{- end -}}

{{- define "sidecar.vaultPorts" -}}
{{- $ports := list -}}
{{- range $_, $store := get . "secrets" | default dict -}}
{{- if and (kindIs "map" $store) (eq (get $store "kind" | default "") "vault") -}}
{{- $address := get $store "address" | default "" -}}
{{- $port := regexFind ":[0-9]+" (regexReplaceAll "^https?://(\\[[^\\]]*\\])?" $address "") | trimPrefix ":" -}}
{{- $ports = append $ports (int (default (ternary "80" "443" (hasPrefix "http://" $address)) $port)) -}}
{{- end -}}
{{- end -}}
{{- include "sidecar.ascending" ($ports | uniq) -}}
{{- end -}}

{{- define "sidecar.valkeyPorts" -}}
{{- $ports := list -}}
{{- if eq (dig "store" "kind" "" .) "valkey" -}}
{{- range $host := regexReplaceAll "^rediss?://" (dig "store" "url" "" .) "" | splitList "," -}}
{{- $port := regexFind ":[0-9]+" (regexReplaceAll "\\[[^\\]]*\\]" $host "") | trimPrefix ":" -}}
{{- $ports = append $ports (default "6379" $port | int) -}}
{{- end -}}
{{- /* The server that the sentinels name. */ -}}
{{- if eq (dig "store" "mode" "" .) "sentinel" -}}{{- $ports = append $ports 6379 -}}{{- end -}}
{{- end -}}
{{- include "sidecar.ascending" ($ports | uniq) -}}
{{- end -}}

{{/* A JSON list of numbers, sorted. */}}
{{- define "sidecar.ascending" -}}
{{- $padded := list -}}
{{- range . -}}{{- $padded = append $padded (printf "%05d" (int .)) -}}{{- end -}}
{{- $numbers := list -}}
{{- range sortAlpha $padded -}}{{- $numbers = append $numbers (. | trimPrefix "0" | trimPrefix "0" | trimPrefix "0" | trimPrefix "0" | int) -}}{{- end -}}
{{- toJson $numbers -}}
{{- end -}}

{{/* "yes" where a service may call private addresses. */}}
{{- define "sidecar.reachesPrivate" -}}
{{- if regexMatch "\"allow_private\":true|\"upstream_proxy\":" (get . "services" | default dict | toJson) -}}yes{{- end -}}
{{- end -}}

{{/* The link-local addresses that a cloud's identity is had from: JSON. */}}
{{- define "sidecar.metadataHosts" -}}
{{- $hosts := list -}}
{{- if .aws.podIdentity -}}{{- $hosts = append $hosts "169.254.170.23/32" -}}{{- end -}}
{{- range $_, $store := get .config "secrets" | default dict -}}
{{- if and (kindIs "map" $store) (eq (get $store "kind" | default "") "gcp") (not (get $store "credentials_file")) -}}
{{- $hosts = concat $hosts (list "169.254.169.252/32" "169.254.169.254/32") | uniq -}}
{{- end -}}
{{- end -}}
{{- toJson $hosts -}}
{{- end -}}
