#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draws docs/sequence.txt as docs/sequence.svg: docs/sequence.py < docs/sequence.txt > docs/sequence.svg"""
import sys
from xml.sax.saxutils import escape

COLUMN, LEFT, TOP, ROW = 230, 110, 66, 34


class Drawing:
    def __init__(self):
        self.x, self.titles, self.out, self.y = {}, {}, [], TOP

    def text(self, x, y, words, style="", anchor="middle"):
        self.out.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" {style}>{escape(words)}</text>')

    def actor(self, name, label):
        self.x[name] = LEFT + COLUMN * len(self.x)
        self.titles[name] = [part.strip() for part in label.split("|")]

    def phase(self, words):
        self.y += 14
        right = LEFT + COLUMN * (len(self.x) - 1) + 100
        self.out.append(f'<rect x="10" y="{self.y}" width="{right - 10}" height="24" class="phase"/>')
        self.text(20, self.y + 17, words, 'class="b"', "start")
        self.y += 24 + ROW - 8

    def arrow(self, senders, receivers, words):
        for sender in senders:
            for receiver in receivers:
                a, b = self.x[sender], self.x[receiver]
                self.out.append(f'<line x1="{a}" y1="{self.y}" x2="{b + (-4 if b > a else 4)}" y2="{self.y}" class="arrow"/>')
        ends = [self.x[name] for name in senders + receivers]
        self.label((min(ends) + max(ends)) / 2, words)
        self.y += ROW

    def label(self, x, words):
        width = 6.3 * len(words) + 8
        self.out.append(f'<rect x="{x - width / 2}" y="{self.y - 18}" width="{width}" height="14" class="paper"/>')
        self.text(x, self.y - 7, words)

    def note(self, names, words):
        for name in names:
            width = max(70, 6.3 * len(words) + 16)
            x = min(max(self.x[name] - width / 2, 10), LEFT + COLUMN * (len(self.x) - 1) + 100 - width)
            self.out.append(f'<rect x="{x}" y="{self.y - 20}" width="{width}" height="22" rx="4" class="note"/>')
            self.text(x + width / 2, self.y - 5, words)
        self.y += ROW - 4

    def line(self, line):
        if line.startswith("actor "):
            name, label = line[6:].split(":", 1)
            self.actor(name, label)
        elif line.startswith("phase "):
            self.phase(line[6:])
        else:
            head, words = line.split(":", 1)
            if ">" in head:
                senders, receivers = (side.split() for side in head.split(">"))
                self.arrow(senders, receivers, words.strip())
            else:
                self.note(head.split(), words.strip())

    def svg(self):
        width, height = LEFT + COLUMN * (len(self.x) - 1) + 110, self.y + 4
        lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
                 "<style>text{font:12px sans-serif;fill:#222}.b{font-weight:bold}.phase{fill:#dde7f0}.note{fill:#fdf3cf;stroke:#b9a24c}"
                 ".arrow{stroke:#345;stroke-width:1.3;marker-end:url(#a)}.life{stroke:#aaa;stroke-dasharray:3 3}.paper{fill:#fff}"
                 "</style>",
                 '<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
                 '<path d="M0 0L10 5L0 10z" fill="#345"/></marker></defs>',
                 f'<rect width="{width}" height="{height}" class="paper"/>']
        for name, x in self.x.items():
            lines.append(f'<line x1="{x}" y1="48" x2="{x}" y2="{height}" class="life"/>')
            lines.append(f'<text x="{x}" y="22" text-anchor="middle" class="b">{escape(self.titles[name][0])}</text>')
            lines.append(f'<text x="{x}" y="40" text-anchor="middle">{escape(self.titles[name][-1])}</text>')
        return "\n".join(lines + self.out + ["</svg>"]) + "\n"


def main():
    drawing = Drawing()
    for line in sys.stdin:
        if line.strip() and not line.startswith("#"):
            drawing.line(line.strip())
    sys.stdout.write(drawing.svg())


if __name__ == "__main__":
    main()
