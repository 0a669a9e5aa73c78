{{/* The certificate of kind chart, base64, as JSON: the one that exists, else a new one. {existing: a Secret, host, days}. */}}
{{- define "injector.certificate" -}}
{{- $data := get (.existing | default dict) "data" | default dict -}}
{{- if and (get $data "ca.crt") (get $data "tls.crt") (get $data "tls.key") -}}
{{- pick $data "ca.crt" "tls.crt" "tls.key" | toJson -}}
{{- else -}}
{{- /* The authority's key is kept nowhere: nobody can sign another one. */ -}}
{{- $authority := genCA "sidecar-injector" (int .days) -}}
{{- $made := genSignedCert "sidecar-injector" nil (list .host (printf "%s.cluster.local" .host)) (int .days) $authority -}}
{{- dict "ca.crt" (b64enc $authority.Cert) "tls.crt" (b64enc $made.Cert) "tls.key" (b64enc $made.Key) | toJson -}}
{{- end -}}
{{- end -}}
