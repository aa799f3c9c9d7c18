"""`fslog check`: a logging configuration is loaded without being carried out.

A logging configuration is a program: `dictConfig` imports modules, calls factories, opens files and
sockets, starts threads, and changes the loggers of the process. A command that only reports on a
configuration must do none of that, and yet report what the application would experience. So as
much as possible is read, and only what has no effects is created, by the standard library's own
code.

    sources        a file, or a variable of a module    ->  a mapping, or an ini file's sections
    configuration  the mapping                          ->  its parts, with resolved classes
    dry_run        the handlers that produce events     ->  created, but disabled
    routing        the loggers                          ->  a private `logging.Manager`
    lint           all of these                         ->  diagnostics: errors and warnings
    obstacles      what other programs do to loggers
    records        a JSON log line, or `--record`       ->  a log record
    explain        a record                             ->  its event, or the reason for none
    leaves         the handlers                         ->  the page of what leaves the process
    render         diagnostics and explanations         ->  text, or JSON

`frameworks` knows what gunicorn, Django, Celery, Jupyter and Airflow change; `check` is the command
itself.

What is executed
----------------

The module or Python file that holds the configuration is imported or run, and so are the modules
that the configuration names: there is no other way to resolve a class. Their effects are the
application's own, except those on logging: until the dry run ends, `dictConfig` and `fileConfig` do
nothing, and every `FreshsuccessHandler` is created disabled, also one that a module creates. A
disabled handler checks its arguments, and has no queue, thread, connection or spool. What modules
print goes to stderr.

fslog's handlers, and each `EventFormatter`, are created by `DictConfigurator`, so that an invalid
argument is reported in the words that the application would get. A factory (`()`) is called if its
code names one of these classes. In an ini file, `args` and `kwargs` of fslog's handlers are
evaluated, as `fileConfig` does. With records, the `context_provider` runs, the paths of rules and
fields read the record, and a filter that is an object in the module already is asked.

What is not executed
--------------------

Other handlers, formatters and filters are not created, except a plain `logging.Filter`. A handler
that passes records on to one of fslog's has a stand-in in `routing`, with its level and filters. A
filter that is not created is not asked, and the explanation says so.

No logger of the process is read or changed. `routing` has a root logger and a `logging.Manager` of
its own, where `logging` itself decides on levels, propagation and filters.

Nothing is sent, and no spool is written. The destination is computed from the arguments and the
environment; what a spool contains is read without taking a lock.

Why this can hold
-----------------

`DictConfigurator` has effects in two places: the constructors that it calls, and the changes that
`configure()` makes to loggers. Its steps can be called one by one, so `configure()` is never
called, and constructors are called only for classes whose effects fslog controls. Such a class is
recognized without a call: it is a subclass of fslog's, or a function whose code names one.

What may not be done
--------------------

- Call `configure()` of a configurator, or create a handler outside of `dry_run`.
- Read a logger of the process: its levels and handlers are those of this command.
- Start a dry run while other threads run: it replaces attributes of classes that they may use.
- Show text of a configuration where a key may be: `files.without_quotes`, and `net.redaction`
  for whatever is printed.

Invariants, and the tests that hold them
----------------------------------------

- A check creates no thread, file or directory, sends nothing, and adds no handler:
  test_a_check_has_no_effects, test_as_a_process.
- A spool with events is neither adopted nor changed: test_a_spool_with_events_is_not_changed.
- A module that configures logging when it is imported has no effect on logging:
  test_a_module_that_configures_logging_itself.
- A dry run restores what it replaces, also if it fails: test_a_dry_run_restores_what_it_replaces.
- Invalid arguments have the messages of the application's `dictConfig`:
  test_arguments_of_the_handler.
- Factories of other handlers are not called: test_factories_of_other_handlers_are_not_called; the
  application's filters are not created: test_a_filter_of_the_application_is_not_created.
- A record arrives as often as in `logging`: test_a_record_is_routed_as_logging_routes_it.
- An explanation has the formatter's rule, event and problems:
  test_the_explanation_agrees_with_the_formatter.
- Any mapping gives diagnostics, and no exception: test_any_mapping_gives_diagnostics.
- No key is shown, by parsers either: test_what_is_quoted_is_not_shown,
  test_what_a_module_raises_shows_no_key, test_keys_of_a_handler_that_cannot_be_created.
"""
