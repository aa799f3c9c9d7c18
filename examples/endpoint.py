"""Play the Freshsuccess endpoint on this machine: `python endpoint.py [PORT]`.

It prints what to set in the environment of an application whose events are to come here, and then
every event that arrives, one line each. Ctrl-C ends it.
"""

import json
import signal
import sys

from fslog.collector import Collector

ENDS = {signal.SIGINT, signal.SIGTERM}


def show(request, events):
    for event in events:
        print(json.dumps(event, ensure_ascii=False), flush=True)


signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)  # they are waited for
with Collector(port=int(sys.argv[1]) if sys.argv[1:] else 8900, on_request=show) as collector:
    settings = {"ENDPOINT": collector.url, "AUTH_KEY": "any-auth-key", "API_KEY": "any-api-key"}
    print("export", *(f"FSLOG_{name}={value}" for name, value in settings.items()), flush=True)
    signal.sigwait(ENDS)
