"""A mail server that demands STARTTLS and a password, and prints what it gets, one JSON object a line.

Usage: smtp_server.py CERT KEY PORT USER PASSWORD
"""
import json
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

cert, key, port, user, password = sys.argv[1:6]


class Printer:
    async def handle_DATA(self, server, session, envelope):
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "data": envelope.content.decode(),
            "tls": session.ssl is not None, "authenticated": session.authenticated,
        }), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    ok = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=ok, handled=True)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
controller = Controller(
    Printer(), hostname="127.0.0.1", port=int(port), tls_context=context, require_starttls=True,
    authenticator=authenticate, auth_required=True,
)
controller.start()
print(json.dumps({"ready": True}), flush=True)
threading.Event().wait()
