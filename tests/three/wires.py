"""Lines between a client's network and those of some servers, each with a delay, a loss and a cut of its
own each way.

    client's namespace            here             a server's namespace
      cN 10.77.N.1  ──── to ───>  copied  ──────>    sN 10.77.N.2
                    <─── fro ───          <──────

Run inside namespaces of its own, with those of the servers named s1, s2, … there already. Reads lines
`N to|fro DELAY_MS LOSS_PERCENT` and `N to|fro cut`, and answers each with `done`. Ends with its input.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def line(number):
    client, server = f"c{number}", f"s{number}"
    ends = tun(client), tun(server)
    ip("link", "set", server, "netns", server)
    for where, name, host in ([], client, 1), (["-n", server], server, 2):
        ip(*where, "addr", "add", f"10.77.{number}.{host}/30", "dev", name)
        ip(*where, "link", "set", name, "mtu", "9000", "up")
        ip(*where, "link", "set", "lo", "up")
    return ends


def main():
    dice = random.Random(int(sys.argv[2]))
    ways, manners = {}, {}
    poll = select.epoll()
    for number in range(1, int(sys.argv[1]) + 1):
        client, server = line(number)
        for way, source, target in ("to", client, server), ("fro", server, client):
            manners[number, way] = (0.0, 0.0)
            ways[source] = ((number, way), target)
            poll.register(source, select.EPOLLIN)
    poll.register(0, select.EPOLLIN)
    print("ready", flush=True)
    late, count, told = [], 0, b""
    while True:
        wait = max(0.0, late[0][0] - time.monotonic()) if late else -1
        for fd, _ in poll.poll(wait):
            if fd == 0:
                said = os.read(0, 4096)
                if not said:
                    return
                *lines, told = (told + said).split(b"\n")
                for words in (line.decode().split() for line in lines):
                    cut = words[2] == "cut"
                    manner = None if cut else (float(words[2]) / 1000, float(words[3]) / 100)
                    manners[int(words[0]), words[1]] = manner
                    print("done", flush=True)
                continue
            key, target = ways[fd]
            for _ in range(64):
                try:
                    packet = os.read(fd, 65536)
                except BlockingIOError:
                    break
                manner = manners[key]
                if manner is None or dice.random() < manner[1]:
                    continue
                count += 1
                heapq.heappush(late, (time.monotonic() + manner[0], count, target, packet))
        now = time.monotonic()
        while late and late[0][0] <= now:
            _, _, target, packet = heapq.heappop(late)
            try:
                os.write(target, packet)
            except OSError:
                pass  # A full queue loses packets, as queues do.


main()
