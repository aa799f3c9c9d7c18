"""Log calls in Python source, read by `ast`: nothing is imported or run.

    modules    paths            ->  files, their dotted names, their syntax trees
    scopes     a syntax tree    ->  scopes with the bindings of their names, candidates for calls
    values     what an expression may be, as far as the source says
    evaluate   an expression    ->  its value: a constant, a logger, a class...
    calls      all of these     ->  `LogCall`s, and the comments that name an event

What cannot be decided is `Unknown`, never a guess: a name has a value only if all of its bindings
have one, an attribute of an instance only if those of the class, of its bases and of its subclasses
have one. Several possible values are kept as such (`Either`). Only the source is considered: a
logger class, a filter or a record factory that changes records at run time is not.
"""
