{{/* The way of the vendors' calls to the pods. TLS ends at the Ingress or the Gateway. */}}

{{- define "sidecar.webhooksService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "sidecar.metadata" (dict "top" . "suffix" "-webhooks" "annotations" .Values.webhooks.service.annotations) | nindent 2 }}
spec:
  type: {{ .Values.webhooks.service.type }}
  selector:
    {{- include "sidecar.podLabels" . | nindent 4 }}
  ports:
    - name: http
      port: {{ .Values.webhooks.service.port | int }}
      # A number: not every version finds the name of a port in an init container.
      targetPort: {{ include "sidecar.webhooksPort" . }}
      protocol: TCP
      appProtocol: http
{{- end -}}

{{/* One exact path for each webhook: nothing else is led inside. */}}
{{- define "sidecar.webhooksIngress" -}}
{{- $ingress := .Values.webhooks.ingress -}}
{{- $service := printf "%s-webhooks" (include "sidecar.fullname" .) -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "sidecar.metadata" (dict "top" . "suffix" "-webhooks" "annotations" $ingress.annotations) | nindent 2 }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  tls:
    - hosts: [{{ $ingress.host | quote }}]
      {{- with $ingress.tlsSecretName }}
      secretName: {{ . | quote }}
      {{- end }}
  rules:
    - host: {{ $ingress.host | quote }}
      http:
        paths:
          {{- range $name, $_ := (include "sidecar.given" . | fromJson).webhooks }}
          - path: {{ printf "/%s" $name | quote }}
            pathType: Exact
            backend: {service: {name: {{ $service | quote }}, port: {name: http}}}
          {{- end }}
{{- end -}}

{{- define "sidecar.webhooksRoute" -}}
{{- $route := .Values.webhooks.httpRoute -}}
{{- $service := printf "%s-webhooks" (include "sidecar.fullname" .) -}}
{{- $port := .Values.webhooks.service.port | int -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "sidecar.metadata" (dict "top" . "suffix" "-webhooks" "annotations" $route.annotations) | nindent 2 }}
spec:
  parentRefs:
    {{- toYaml $route.parentRefs | nindent 4 }}
  {{- with $route.hostnames }}
  hostnames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range $name, $_ := (include "sidecar.given" . | fromJson).webhooks }}
    - matches:
        - path: {type: Exact, value: {{ printf "%s/%s" $route.pathPrefix $name | quote }}}
      {{- if $route.pathPrefix }}
      filters:
        - type: URLRewrite
          urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: {{ printf "/%s" $name | quote }}}}
      {{- end }}
      backendRefs:
        - {name: {{ $service | quote }}, port: {{ $port }}}
    {{- end }}
{{- end -}}
