"""Failures: what went wrong on the way to a connection, in words that lead to the repair.

The types for `Proxy-Status` are those of RFC 9209 section 2.3.
"""

import errno
import ssl

from sidecar.core.errors import ConnectFailed, TlsFailed
from sidecar.upstream.origin import BaseUrl

# X509_V_ERR_* of OpenSSL's x509_vfy.h, which the ssl module does not name.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNTRUSTED = (18, 19, 20, 21)  # Self-signed, self-signed in the chain, no issuer found, chain cannot be completed.
_OTHER_NAME = (62, 64)  # Host name, IP address.
_OLD_PROTOCOL = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "VERSION_TOO_LOW")
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER")


def connect_failed(where: str, error: OSError) -> ConnectFailed:
    """Turn what a connect ended with into our error; `where` names whom it was to reach."""
    match error.errno:
        case errno.ECONNREFUSED:
            return ConnectFailed(f"{where} refused the connection", proxy_error="connection_refused")
        case errno.ETIMEDOUT:
            return ConnectFailed(f"{where} did not answer", proxy_error="connection_timeout")
        case errno.ENETUNREACH | errno.EHOSTUNREACH | errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return ConnectFailed(
                f"there is no route to {where}; is egress allowed by the network policy?",
                proxy_error="destination_ip_unroutable",
            )
        case errno.EMFILE | errno.ENFILE:
            failed = ConnectFailed("no file descriptor is free for a connection", proxy_error="proxy_internal_error")
            failed.blames_vendor = False  # The shortage is this pod's.
            return failed
        case errno.ECONNRESET | errno.EPIPE:
            return ConnectFailed(f"{where} broke off the connection", proxy_error="connection_terminated")
        case _:
            return ConnectFailed(
                f"no connection to {where}: {error.strerror or error}", proxy_error="destination_unavailable"
            )


def tls_failed(origin: BaseUrl, error: OSError) -> TlsFailed:
    """Turn what a handshake ended with into our error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _final(TlsFailed(_certificate(origin.host, error), proxy_error="tls_certificate_error"))
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    where = f"{origin.host}:{origin.port}"
    if any(word in reason for word in _OLD_PROTOCOL):
        return _final(TlsFailed(f"{where} speaks no TLS 1.2 or newer; older versions are not safe ({reason})"))
    if any(word in reason for word in _NOT_TLS):
        return _final(TlsFailed(f"{where} does not speak TLS; are scheme and port of base_url right? ({reason})"))
    if "ALERT" in reason:
        return TlsFailed(f"{where} refused the TLS handshake ({reason})", proxy_error="tls_alert_received")
    if reason and not isinstance(error, ssl.SSLEOFError):
        return TlsFailed(f"the TLS handshake with {where} failed ({reason})")
    return TlsFailed(f"{where} broke off during the TLS handshake", proxy_error="connection_terminated")


def _final(error: TlsFailed) -> TlsFailed:
    error.is_final = True
    return error


def _certificate(host: str, error: ssl.SSLCertVerificationError) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return f"the certificate of {host} has expired; the vendor must renew it"
    if code == _NOT_YET_VALID:
        return f"the certificate of {host} is not valid yet; is the clock of this node right?"
    if code in _UNTRUSTED:
        return (
            f"the certificate of {host} is signed by an authority that is not trusted here "
            f"({error.verify_message}); if it is your own, name its PEM file in ca_file"
        )
    if code in _OTHER_NAME:
        return f"the certificate is not for {host} but for another name; is base_url right?"
    return f"the certificate of {host} does not verify: {error.verify_message}"
