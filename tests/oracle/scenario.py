"""A scenario: commands to set up, frames with their times, commands between frames. Written as tests/parity/scenarios holds them."""
import os

from pkt import write_pcap

MS, SECOND = 10**6, 10**9
# A tick of the kernel's clock, and the part of it in which frames are sent. The first frame comes less than a millisecond after a tick
# begins, later by what the commands before it cost; sleeps add to that. The rest of the tick leaves room for it: kernel and replay
# must agree in which tick a frame comes, since what expires does so at the next.
TICK, PART = 10 * MS, 5 * MS


class Scenario:
    def __init__(self):
        self.setup, self.frames, self.steps = [], [], []
        # Nanoseconds since the first frame, of the frames and of the sleeps between them.
        self.now = self.slept = 0

    def frame(self, frame, gap=MS):
        if self.now % TICK > PART:
            self.now += TICK - self.now % TICK
        self.frames.append((self.now - self.slept, frame))
        self.now += gap

    def step(self, command):
        """Runs before the next frame, or after the last."""
        self.steps.append((len(self.frames) + 1, command))

    def sleep(self, seconds):
        self.step("sleep %s" % seconds)
        self.now += int(seconds * SECOND)
        self.slept += int(seconds * SECOND)

    def write(self, folder, about):
        os.makedirs(folder, exist_ok=True)
        self.text(folder, "about.txt", [about])
        self.text(folder, "setup.sh", self.setup)
        last = len(self.frames)
        self.text(folder, "steps", ["%s %s" % (at if at <= last else "end", c) for at, c in self.steps])
        write_pcap(os.path.join(folder, "input.pcap"), self.frames)

    @staticmethod
    def text(folder, name, lines):
        with open(os.path.join(folder, name), "w") as f:
            f.write("".join(line + "\n" for line in lines))
