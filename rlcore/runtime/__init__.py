"""Actors, schedules, the parameter store, supervision and checkpoints.

Where to look, in the order of a run. ``inline`` has all of it in one process and is the place to
start; ``docs/concepts/data-flow.md`` draws the same.

==================================  ===========================================================
question                            modules
==================================  ===========================================================
what is to run, and where           ``config``, ``plan``, ``placement``, ``contracts``
who waits for whom                  ``schedule``, ``stop``
how steps are taken                 ``actor``, ``row_player`` (data sets), ``evaluation``
what an actor plays                 ``env_stream``: ``env_native``, ``env_sync``; ``env_checks``,
                                    ``env_spaces``
how updates are made                ``learner_loop``, ``totals``, ``bad_batches``
what processes share                ``channels``: ``rlcore.data.ring``, ``param_store``, ``control``
which processes there are           ``inline``; ``supervisor``, ``roles``, ``restarts``, ``memory``
how they are started and watched    ``process``, ``child``; ``forked``, ``fork_server``
updates without a learner process   ``hogwild``, ``hogwild_run``
when a checkpoint is taken          ``keeper``
how it is written and read          ``checkpoint``, ``checkpoint_*``, ``durable_files``,
                                    ``json_state``, ``nested_state``
how environments are saved          ``env_state``, ``env_tree``, ``env_rebuild``
==================================  ===========================================================
"""
