"""The command `fslog suggest`: rules and fields that fit the records of `fslog record`.

    reading    a recording                   ->  kinds of records, with samples and counts
    requests   kinds of access lines         ->  rules with `preset: access`
    calls      kinds of log calls            ->  rules on messages
    identity   the samples of these kinds    ->  where the user, the account, the session is
    suggest    all of these                  ->  a configuration, and what could not be decided
    yaml       a configuration               ->  text with comments

What cannot be known from records is not guessed: it is listed. Each rule is tried with the records
that it is for before it is printed.
"""
