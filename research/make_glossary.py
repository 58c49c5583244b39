"""Makes recall/glossary.txt.gz: lines of WordNet 3.0, as make_corpus.py makes them, for the documents that package recall composes.

usage: make_glossary.py /usr/share/wordnet OUT.gz    (Debian's wordnet-base; licence: ../recall/LICENSE.wordnet)

The lines are a sample of all parts of speech in random order, of at most 239 characters, in ASCII, each headword once. Glosses that
WordNet marks as offensive, and sexual or violent ones, are left out: the text ships with the program.
"""
import gzip
import random
import re
import sys

SIZE = 700_000  # bytes, about 229,000 tokens of the shipped tokenizer
LONGEST = 239
UNFIT = re.compile(
    r"(?i)offensiv|slur|disparag|derogat|obscen|vulgar|ethnic|racial|negro|nazi|sex|genital|penis|vagina|vulva|anus|semen|coit|intercourse|"
    r"prostitut|whore|rape|rapist|incest|masturb|erotic|porn|lesbian|homosexual|nude|naked|breast|murder|suicid|genocid|slave|massacre|"
    r"excrement|feces|faeces|urin|abort|drug|heroin|cocaine|jew|muslim|arab|gypsy|coloured|moron|idiot|retard|puden|scrot|testic|gulag|bugger|bastard|bitch|fuck|shit|cunt|piss|fart|corpse|torture")


def lines(folder):
    for pos in ("noun", "verb", "adj", "adv"):
        for line in open(f"{folder}/data.{pos}", encoding="latin-1"):
            if line.startswith("  "):  # the licence
                continue
            left, gloss = line.split(" | ", 1)
            f = left.split()
            n = int(f[3], 16)
            words = [re.sub(r"\(.*\)", "", f[4 + 2 * i]).replace("_", " ") for i in range(n)]
            yield f"{words[0]} ({pos}): {gloss.strip()}." + (f" Also: {', '.join(words[1:])}." if n > 1 else "")


def main():
    every = [l for l in lines(sys.argv[1]) if len(l) <= LONGEST and l.isascii() and not UNFIT.search(l)]
    random.Random(1).shuffle(every)
    heads, kept, size = set(), [], 0
    for l in every:
        head = l.split("): ", 1)[0]
        if head in heads:
            continue
        heads.add(head)
        kept.append(l)
        size += len(l) + 1
        if size >= SIZE:
            break
    text = "".join(l + "\n" for l in kept).encode()
    with open(sys.argv[2], "wb") as f:
        f.write(gzip.compress(text, 9, mtime=0))
    print(len(kept), "lines,", len(text), "bytes")


if __name__ == "__main__":
    main()
