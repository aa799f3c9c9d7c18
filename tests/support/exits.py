"""Programs that end in every way."""

from __future__ import annotations

WAYS_OUT = {
    "the end of the program": """
        from counted import *
        handle()
        say(1)
        """,
    "sys.exit": """
        from counted import *
        handle()
        say(1)
        sys.exit(0)
        """,
    "sys.exit inside a function that logs once more": """
        from counted import *
        handle()
        try:
            sys.exit(0)
        finally:
            say(1)
        """,
    "a thread that outlives the main one": """
        import threading
        from counted import *
        handle()
        def outlive():
            threading.main_thread().join()
            say(1)
        threading.Thread(target=outlive).start()
        """,
    "a daemon thread that logged before": """
        import threading
        from counted import *
        handle()
        logged = threading.Event()
        def serve():
            say(1)
            logged.set()
            threading.Event().wait()
        threading.Thread(target=serve, daemon=True).start()
        logged.wait()
        """,
    "an atexit callback registered after fslog was imported": """
        import atexit
        from counted import *
        handle()
        atexit.register(say, 1)
        """,
    "an atexit callback registered before fslog was imported": """
        import atexit
        from counted import *
        atexit.register(say, 1)
        handle()
        """,
    "an atexit callback registered before logging was imported": """
        import atexit
        atexit.register(lambda: say(1))
        from counted import *
        handle()
        """,
    "a weakref.finalize callback": """
        import weakref
        from counted import *
        handle()
        class Kept:
            pass
        kept = Kept()
        weakref.finalize(kept, say, 1)
        """,
    "a handler that was closed before": """
        from counted import *
        handle().close()
        say(1)
        """,
    "logging that was shut down before": """
        from counted import *
        handle()
        logging.shutdown()
        say(1)
        """,
    "a handler that was thrown away": """
        import gc
        from counted import *
        handler = handle()
        say(1)
        log.removeHandler(handler)
        del handler
        gc.collect()
        """,
    "os._exit after a flush": """
        import os
        import fslog
        from counted import *
        handle()
        say(1)
        assert fslog.flush(10)
        os._exit(0)
        """,
    "asyncio.run": """
        import asyncio
        from counted import *
        handle()
        async def main():
            say(1)
        asyncio.run(main())
        """,
}


TROUBLED = """
    import atexit
    from counted import *
    atexit.register(lambda: tell(**balance(handler)))
    handler = handle(shutdown_timeout=0.5)
    for number in range(7):
        say(number)
    leave()
    """
