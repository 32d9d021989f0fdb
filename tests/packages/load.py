"""Clients that call without a pause, each time on a new connection, until standard input ends. Standard
input's first line is their token; what became of the requests is printed as JSON."""

import http.client
import json
import ssl
import sys
import threading
import time

CLIENTS = 8
# A request that finds the gateway between two processes waits; this long at most.
PATIENCE = 30


def main():
    port, token = int(sys.argv[1]), sys.stdin.readline().strip()
    trust = ssl.create_default_context()
    # The certificate is of the gateway's own making.
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    stop, lock = threading.Event(), threading.Lock()
    result = {"answers": 0, "longest": 0.0, "failures": []}

    def call():
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=trust)
        try:
            connection.request("GET", "/load", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
            return None if answer.status == 200 else str(answer.status)
        except OSError as error:
            return repr(error)
        except http.client.HTTPException as error:
            return repr(error)
        finally:
            connection.close()

    def client():
        while not stop.is_set():
            start = time.monotonic()
            failure = call()
            with lock:
                result["answers"] += 1
                result["longest"] = max(result["longest"], time.monotonic() - start)
                if failure and len(result["failures"]) < 20:
                    result["failures"].append(failure)

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    while result["answers"] < CLIENTS:
        time.sleep(0.01)
    print("going", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in clients:
        thread.join()
    print(json.dumps(result))


main()
