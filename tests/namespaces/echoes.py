#!/usr/bin/env python3
"""Connections that stay open.

echoes.py serve ADDRESS PORT NAME   says its name on each connection and then echoes what comes
echoes.py open ADDRESS PORT COUNT   opens so many, has a line echoed on each about once a second until stdin ends, then says how many
                                  were opened, how many of them broke, and the longest silence of any in milliseconds
"""

import asyncio
import random
import sys

PERIOD = 1.0
# Longer than TCP waits between two tries after an outage of a few seconds.
PATIENCE = 30.0


async def echo(name, reader, writer):
    writer.write(f"{name}\n".encode())
    while line := await reader.readline():
        writer.write(line)
    writer.close()


async def serve(address, port, name):
    server = await asyncio.start_server(lambda r, w: echo(name, r, w), address, port, backlog=1024)
    async with server:
        await server.serve_forever()


class Held:
    """One connection and what became of it."""

    def __init__(self):
        self.broken = None
        self.silence = 0.0
        self.echoes = 0

    async def run(self, address, port, opened, end):
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), PATIENCE)
            self.server = (await asyncio.wait_for(reader.readline(), PATIENCE)).decode().strip()
            opened.release()
            await asyncio.sleep(random.random() * PERIOD)
            while not end.is_set():
                await self.ask(reader, writer)
                await asyncio.sleep(PERIOD)
            writer.close()
        except (OSError, asyncio.TimeoutError, ValueError) as error:
            self.broken = repr(error)
            opened.release()

    async def ask(self, reader, writer):
        loop = asyncio.get_running_loop()
        asked, line = loop.time(), f"{self.echoes}\n".encode()
        writer.write(line)
        answer = await asyncio.wait_for(reader.readline(), PATIENCE)
        if answer != line:
            raise ValueError(f"{answer} instead of {line}")
        self.echoes += 1
        self.silence = max(self.silence, loop.time() - asked)


async def hold(address, port, count):
    opened, end = asyncio.Semaphore(0), asyncio.Event()
    held = [Held() for _ in range(count)]
    tasks = [asyncio.create_task(one.run(address, port, opened, end)) for one in held]
    for _ in held:
        await opened.acquire()
    print("open", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    end.set()
    await asyncio.gather(*tasks)
    broken = [one.broken for one in held if one.broken]
    echoes, silence = sum(one.echoes for one in held), max(one.silence for one in held)
    print(f"{count} opened, {len(broken)} broken, {echoes} echoes, {silence * 1000:.0f} ms without an echo")
    print(*sorted(set(broken)), sep="\n")


def main():
    mode, address, port, last = sys.argv[1:]
    if mode == "serve":
        asyncio.run(serve(address, int(port), last))
    else:
        asyncio.run(hold(address, int(port), int(last)))


main()
