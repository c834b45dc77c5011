"""A receiver to try the sink with: prints what arrives, and says whether the signature is right.

python3 receiver.py [PORT] [SECRET]
"""

import http.server
import sys

from signature import is_signed


def serve(port: int, key: bytes) -> None:
    """Serves until it is interrupted."""

    class Receiver(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            stamp, signature = (self.headers.get(name, "") for name in ("X-Timestamp", "X-Signature-256"))
            verdict = "signed" if is_signed(key, stamp, body, signature) else "NOT SIGNED" if key else "no key to check with"
            print("%s (%s)" % (body.decode("utf-8", "replace"), verdict), flush=True)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver).serve_forever()


if __name__ == "__main__":
    words = sys.argv[1:] + [""] * 2
    serve(int(words[0] or 8099), words[1].encode())
