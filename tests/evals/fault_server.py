"""An OpenAI-compatible judge that fails on purpose: each request has a fixed chance of each fault, seeded."""

import hashlib
import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("429", "500", "hang", "cut", "garbage", "five")


class FaultServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, share=0.3, seed=1, hang_s=0.6, delay_s=0.0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.share, self.hang_s, self.delay_s = share, hang_s, delay_s
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.requests, self.delivered, self.faults, self.keys = [], [], {}, set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a killed client


def true_scores(reply):
    """What this judge thinks of a reply: a fixed function of it."""
    h = hashlib.sha256(reply.encode()).digest()
    return [h[0] % 3, h[1] % 4, h[2] % 4, h[3] % 2]


def reply_of(body):
    user = body["messages"][1]["content"]
    return user.split("<<<REPLY\n", 1)[1].rsplit("\nREPLY>>>", 1)[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = reply_of(body)
        with server.lock:
            server.requests.append(json.dumps(body["messages"]))
            server.keys.add(self.headers.get("authorization"))
            fault = server.random.choice(FAULTS) if server.random.random() < server.share else None
            if fault:
                server.faults[fault] = server.faults.get(fault, 0) + 1
        time.sleep(server.delay_s)
        if fault == "429":
            return self.send(429, b'{"error": "slow down"}', {"retry-after": "0.02"})
        if fault == "500":
            return self.send(500, b"oops")
        if fault == "hang":
            time.sleep(server.hang_s)
            return None
        scores = true_scores(reply)
        # an honest judge that quotes the reply first: an injected list stands there, the verdict is the last one
        text = f"The reply says: {reply[:200]}\n{scores}"
        if fault == "five":
            text = "[0, 0, 0, 0, 0]"
        data = json.dumps({"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 100}}).encode()
        if fault == "garbage":
            data = b"<html>gateway</html>"
        if fault == "cut":
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return None
        self.send(200, data)
        if fault is None:
            with server.lock:
                server.delivered.append(json.dumps(body["messages"]))
        return None

    def send(self, status, data, headers=None):
        self.send_response(status)
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
