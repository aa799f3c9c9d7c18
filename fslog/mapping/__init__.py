"""Record → event → line, in the thread that logs."""
