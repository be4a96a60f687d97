# tries: raise its own limits and priority
import os
import resource

raised = []
for name in dir(resource):
    if name.startswith("RLIMIT_"):
        try:
            now = resource.getrlimit(getattr(resource, name))
            resource.setrlimit(getattr(resource, name), (-1, -1))
            if now[1] != -1:
                raised.append(name)
        except (OSError, ValueError):
            continue
for policy in (os.SCHED_FIFO, os.SCHED_RR):
    try:
        os.sched_setscheduler(0, policy, os.sched_param(1))
        raised.append(policy)
    except OSError:
        continue
try:
    os.setpriority(os.PRIO_USER, os.getuid(), -20)
    raised.append("priority")
except OSError:
    pass
assert not raised, f"LEAK {raised}"
