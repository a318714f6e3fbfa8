"""Small real texts of every domain."""

PLAY = "\n\n".join(
    f"{name}:\n{line}"
    for name, line in [
        ("First Citizen", "Before we proceed any further, hear me speak."),
        ("All", "Speak, speak, and let it be resolved by all."),
        ("KING HENRY VI", "O God! methinks it were a happy life,\nTo be no better than a homely swain;"),
        ("Ghost of Prince Edward", "Let me sit heavy on thy soul to-morrow!\nThink how thou stab'dst me so:"),
        ("Second Lord", "Nay, but the man that was his bondman, sir,\nTo bear the burden of so great a grief."),
        ("JULIET", "What's in a name? that which we call a rose\nBy any other name would smell as sweet;"),
    ]
)

C = """#include <linux/kernel.h>

static int limit = 3;	/* how often */

/*
 * Count what is there.
 */
static int __init count_them(struct list_head *head, int least)
{
	struct item *item;
	int found = 0;

	list_for_each_entry(item, head, node) {
		if (item->value[0] < least) {
			pr_warn("too small (\\"%d\\"\\n", item->value[0]);
			continue;
		}
		switch (item->kind) {
		case KIND_ONE:
			found++;
			break;
		default:
			goto out;
		}
	}
out:
	return found;
}

void forget(struct item *item)
{
	if (!item)
		return;
	kfree(item);
}
"""

LATEX = r"""
\section{Points}

\begin{lemma}
\label{lemma-points}
Let $X$ be a scheme with $\{x\} \subset X$ closed. % not $ here
Then
$$
\Spec(\kappa(x)) \to X
$$
is a closed immersion.
\end{lemma}

\begin{proof}
This is clear. In fact
\begin{enumerate}
\item $A$ is local, and
\item $B = A_{\mathfrak p}$.
\end{enumerate}
\end{proof}

\begin{definition}
A {\it point} is a map $\Spec(k) \to X$.
\end{definition}

See above.
"""

WIKI = """<mediawiki>
  <page>
    <title>Anarchism</title>
    <id>12</id>
    <revision>
      <id>649324721</id>
      <timestamp>2015-02-28T23:35:20Z</timestamp>
      <contributor>
        <username>AnomieBOT</username>
        <id>7611264</id>
      </contributor>
      <text xml:space="preserve">{{Redirect|Anarchist}}
{{Infobox
| name = Anarchism
| site = [http://www.example.org/a?b=c Site]
}}

'''Anarchism''' is a [[political philosophy]]&lt;ref&gt;{{cite book|last=Foner |url=http://books.example.com/x }}&lt;/ref&gt; of [[society|societies]].

== History ==

* [[Emma Goldman]] &amp; others
* one&lt;ref name=&quot;a&quot; /&gt;

{| class=&quot;wikitable&quot;
|-
| one || two
|}

=== Later ===

The end of it.</text>
    </revision>
  </page>
</mediawiki>
"""

TUNES = """X:1
T:The Test
M:6/8
L:1/8
R:jig
K:D
A|:"D"dAF DFA|~d3 c>BA|(3ABc d2 e{f}e2-|e6:|
|:[DF]3 z3|d/e/f/g/ a2 A2 |1 B6:|2 d6|]

X: 2
T: Another
M: C|
L: 1/4
K: Gmin
D|G>A B_c|d4|[M:3/4] e2f|g2z|[K:F] =f3||
w: la la
"""

PYTHON = '''import os


def first(a: int, *rest: str) -> list[str]:
    """Say something.

Even at the margin.
    """
    if a > 1:
        return [each for each in rest
            if each]
    # not yet: (
    return ["(", ')' ]


class Thing:
    def second(
        self,
    ):
        while True:
            pass

    async def third(self):
        return {
            "a": 1,
        }


x = 1
'''

TEXTS = {"drama": PLAY, "c": C, "latex": LATEX, "wikitext": WIKI, "abc": TUNES, "python": PYTHON}
