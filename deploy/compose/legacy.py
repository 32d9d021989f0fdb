"""A legacy API: answers with its goods, and with who the gateway says is calling."""

import http.server
import json

GOODS = {"/": {"shop": "open"}, "/prices": {"bolt": 3, "nut": 2}}


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        goods = GOODS.get(self.path)
        caller = self.headers.get("X-Auth-Username")
        body = json.dumps({"caller": caller, "answer": goods}).encode()
        self.send_response(200 if goods else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("", 8000), Api).serve_forever()
