"""Whom we believe that a server is who it says it is."""

import ssl

import certifi


def tls_context(ca_file: str = "") -> ssl.SSLContext:
    """One context for many connections: making it takes tens of milliseconds.

    Certificates are always checked. With `ca_file` only its authorities count; else the system's, those of
    `SSL_CERT_FILE`, and certifi's, for machines that have none.
    """
    if ca_file:
        return ssl.create_default_context(cafile=ca_file)
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
