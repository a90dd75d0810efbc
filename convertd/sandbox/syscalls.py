"""Numbers of the system calls that :mod:`convertd.sandbox.seccomp` judges.

From the kernel's ``asm/unistd_64.h`` (x86-64) and ``asm-generic/unistd.h`` (aarch64). -1 where an
architecture never had the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Numbers(NamedTuple):
    """One system call's number on each machine."""

    x86_64: int
    aarch64: int


_TABLE = """
ptrace 101 117; process_vm_readv 310 270; process_vm_writev 311 271; process_madvise 440 440
kcmp 312 272; pidfd_getfd 438 438; pidfd_open 434 434; pidfd_send_signal 424 424; mount 165 40
umount2 166 39; pivot_root 155 41; chroot 161 51; mount_setattr 442 442; fsopen 430 430
fsconfig 431 431; fsmount 432 432; fspick 433 433; move_mount 429 429; open_tree 428 428
open_tree_attr 467 467; unshare 272 97; setns 308 268; keyctl 250 219; add_key 248 217
request_key 249 218; bpf 321 280; perf_event_open 298 241; io_uring_setup 425 425
io_uring_enter 426 426; io_uring_register 427 427; userfaultfd 323 282; kexec_load 246 104
kexec_file_load 320 294; init_module 175 105; finit_module 313 273; delete_module 176 106
reboot 169 142; swapon 167 224; swapoff 168 225; acct 163 89; quotactl 179 60; quotactl_fd 443 443
syslog 103 116; settimeofday 164 170; clock_settime 227 112; clock_adjtime 305 266; adjtimex 159 171
sethostname 170 161; setdomainname 171 162; name_to_handle_at 303 264; open_by_handle_at 304 265
iopl 172 -1; ioperm 173 -1; modify_ldt 154 -1; vhangup 153 58; chmod 90 -1; fchmod 91 52
fchmodat 268 53; fchmodat2 452 452; chown 92 -1; fchown 93 55; lchown 94 -1; fchownat 260 54
setxattr 188 5; lsetxattr 189 6; fsetxattr 190 7; removexattr 197 14; lremovexattr 198 15
fremovexattr 199 16; setxattrat 463 463; removexattrat 466 466; file_setattr 469 469; utime 132 -1
utimes 235 -1; futimesat 261 -1; utimensat 280 88; mknod 133 -1; mknodat 259 33
fanotify_init 300 262; mq_open 240 180; mq_unlink 241 181; shmget 29 194; shmat 30 196
shmctl 31 195; msgget 68 186; semget 64 190; prlimit64 302 261; sched_setaffinity 203 122
sched_setscheduler 144 119; sched_setattr 314 274; sched_setparam 142 118; migrate_pages 256 238
move_pages 279 239; setpriority 141 140; ioprio_set 251 30; kill 62 129; tkill 200 130
tgkill 234 131; rt_sigqueueinfo 129 138; rt_tgsigqueueinfo 297 240; clone 56 220; clone3 435 435
fork 57 -1; vfork 58 -1; execve 59 221; execveat 322 281; socket 41 198; connect 42 203
socketpair 53 199; seccomp 317 277; prctl 157 167; bind 49 200; listen 50 201
"""


def _parsed() -> Mapping[str, Numbers]:
    rows = (row.split() for row in _TABLE.replace("\n", ";").split(";") if row.strip())
    return {name: Numbers(int(x86), int(arm)) for name, x86, arm in rows}


NUMBERS: Final[Mapping[str, Numbers]] = _parsed()
