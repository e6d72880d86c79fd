"""Collects the pages of the site: a copy of README, docs and studies, a gallery of plots and the API reference.

The copy has the folders of the repository, so that links between pages stay as they are. A notebook that has been run,
by `scripts/run_notebook.py`, is a page with its outputs. Formulas stand in the pages as LaTeX between dollars, which
editors and code hosts can read and typeset; the site has them as MathML, which browsers draw without a script.

Run: python scripts/collect_pages.py build/pages --notebooks=build/lecture --plays=build/play
(then: mkdocs build --strict)
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from arjax.cli.command_line import Parser, tell_mistakes

TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE")
#: Classes with a page of their own, with the members that they inherit
CLASSES = (
    "arjax.api.run.Run",
    "arjax.api.trained_model.Fitted",
    "arjax.tables.table.TableModel",
    "arjax.core.spec.EventSpec",
    "arjax.core.spec.ContextSpec",
    "arjax.models.base.Model",
    "arjax.models.autoregressive.AutoregressiveModel",
    "arjax.networks.base.Network",
    "arjax.conditionals.base.Conditional",
    "arjax.factorization.factorization.Factorization",
    "arjax.samplers.base.Sampler",
    "arjax.objectives.base.Objective",
    "arjax.data.base.Dataset",
    "arjax.testing.auditing.report.Report",
)
#: Packages of the API reference, with their first lines; a package leaves its subpackages that stand here to them
PACKAGES = {
    "arjax": "The Python interface",
    "arjax.core": "Events, keys, errors, registries",
    "arjax.factorization": "Orders, partitions, graphs",
    "arjax.networks": "Networks",
    "arjax.networks.dense": "Dense networks",
    "arjax.networks.recurrent": "Recurrent networks",
    "arjax.networks.attention": "Networks of attention",
    "arjax.networks.image": "Networks for images",
    "arjax.networks.any_order": "Networks of any order",
    "arjax.networks.denoisers": "Denoisers",
    "arjax.networks.layers": "Layers",
    "arjax.conditionals": "Conditional distributions",
    "arjax.stages": "Stages of cascades",
    "arjax.quantizers": "Quantizers of tokenizers",
    "arjax.models": "Models",
    "arjax.objectives": "Objectives",
    "arjax.samplers": "Samplers",
    "arjax.data": "Data sets",
    "arjax.training": "Training",
    "arjax.evaluation": "Scores and samples of trained models",
    "arjax.coding": "The lossless coder",
    "arjax.interop": "GPT-2 and Llama models",
    "arjax.tables": "Models of tables",
    "arjax.sweep": "Sweeps",
    "arjax.config": "Configs",
    "arjax.population": "Populations: many orders and seeds in one program",
    "arjax.parallel": "Devices and processes",
    "arjax.reporting": "Metric writers, plots and tables",
    "arjax.page": "Pages that play a model",
    "arjax.testing": "The laws as tests",
}
#: Blocks and pieces of code, in which a dollar is a dollar; then formulas of their own line, and formulas in a text.
CODE = re.compile(r"^```.*?^```$|^    .*?$|(`+)(?!`).*?(?<!`)\1(?!`)", flags=re.DOTALL | re.MULTILINE)
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$(?=[^\s$])([^$\n]+?)(?<=[^\s\\])\$(?![\w$])", flags=re.DOTALL)
#: Where pages name the pages that play, by their file names.
PLAY = "<!-- play -->"
PICTURE = re.compile(r"!\[([^\]]*)\]\((\w+\.png)\)")
#: Links to files of code, which get a page each, but for the notebooks.
SOURCE = re.compile(r"\]\(([\w./]*?\b(?![0-9])\w+\.py)\)")

#: The place of pages in the results of a search: those that answer a question come first, reference and code last.
SEARCH = "---\nsearch:\n  boost: {}\n---\n\n"
BEHIND = SEARCH.format(0.1)
AHEAD = {"which": 8, "concepts": 4, "orders": 4, "scale": 4, "training": 4, "objectives": 4, "glossary": 3}


def in_search(page: str) -> str:
    """The front matter of a page, by its path from the root: its weight in a search."""
    weights = {f"docs/{name}.md": weight for name, weight in AHEAD.items()}
    return SEARCH.format(weights[page]) if page in weights else BEHIND if page == "CHANGELOG.md" else ""


def collect(root: Path, target: Path) -> None:
    """Writes all pages below `target`, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    studies = sorted(root.glob("experiments/*/README.md"))
    pages = [root / name for name in TOP] + sorted(root.glob("docs/**/*.md")) + studies
    for path in [
        *pages,
        *root.glob("docs/*.css"),
        *root.glob("docs/lecture/[0-9]*.py"),
        *root.glob("docs/images/*"),
        *root.glob("experiments/*/*.png"),
    ]:
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = re.sub(r'^(```\w+) (?!title=)\w+="[^"]*"', r"\1", path.read_text("utf-8"), flags=re.M)
            text = SOURCE.sub(lambda link, path=path: source_link(root, target, path, link[1]), text)
            copy.write_text(in_search(path.relative_to(root).as_posix()) + text, "utf-8")
        else:
            shutil.copy(path, copy)
    (target / "gallery.md").write_text(gallery(root, studies), encoding="utf-8")
    (target / "api").mkdir()
    for package, title in PACKAGES.items():
        (target / "api" / f"{package}.md").write_text(api_page(root, package, title), encoding="utf-8")
    for name in CLASSES:
        (target / "api" / f"{name.rpartition('.')[2]}.md").write_text(class_page(name), encoding="utf-8")


def source_link(root: Path, target: Path, page: Path, link: str) -> str:
    """Makes the page of a file of code that a page links to. Returns the end of the link that leads there."""
    file = (page.parent / link).resolve().relative_to(root.resolve())
    source = target / "source" / file.with_suffix(".md")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(
        f"{BEHIND}# {file.name}\n\n`{file}`\n\n```python\n{(root / file).read_text('utf-8')}```\n", "utf-8"
    )
    return f"]({Path(os.path.relpath(source, target / page.parent.relative_to(root))).as_posix()})"


def add_notebooks(notebooks: Path, target: Path) -> None:
    """Makes a page below `target` of each notebook in a folder, and lets the page of the lecture lead there."""
    from nbconvert import MarkdownExporter

    lecture = target / "docs" / "lecture.md"
    text = lecture.read_text(encoding="utf-8")
    for path in sorted(notebooks.glob("*.ipynb")):
        folder, name = target / "docs" / "lecture", path.stem
        page, resources = MarkdownExporter().from_filename(path, {"output_files_dir": f"{name}_files"})
        for picture, content in resources["outputs"].items():
            (folder / picture).parent.mkdir(exist_ok=True)
            (folder / picture).write_bytes(content)
        title, _, rest = page.strip().partition("\n")
        shutil.copy(path, folder)
        about = f"A notebook with its outputs: [{name}.py]({name}.py), or for Jupyter [{name}.ipynb]({path.name})."
        (folder / f"{name}.md").write_text(f"{title}\n\n{about}\n{rest}\n", encoding="utf-8")
        text = text.replace(f"(lecture/{name}.py)", f"(lecture/{name}.md)")
    lecture.write_text(text, encoding="utf-8")


def add_plays(plays: Path, target: Path) -> None:
    """Copies the pages that play from a folder, and names them on the pages that ask for it."""
    (target / "play").mkdir()
    names = sorted(path.name for path in plays.glob("*.html"))
    for name in names:
        shutil.copy(plays / name, target / "play")
    for page in (target / "README.md", target / "docs" / "page.md"):
        up = "../" * (len(page.relative_to(target).parts) - 1)
        links = " and ".join(f"[{name.removesuffix('.html')}]({up}play/{name})" for name in names)
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(PLAY, f"Play with {links}." if names else ""), encoding="utf-8")


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text of a page, changed by a function where it is no code."""
    parts, last = [], 0
    for code in CODE.finditer(text):
        parts += [change(text[last : code.start()]), code[0]]
        last = code.end()
    return "".join([*parts, change(text[last:])])


def typeset(target: Path) -> None:
    """Turns the formulas of all pages below `target` into MathML."""
    from latex2mathml.converter import convert

    def formula(match: re.Match) -> str:
        place = "formula-line" if match[1] else "formula"
        math = convert((match[1] or match[2]).strip(), display="block" if match[1] else "inline")
        math = math.replace("<mo>&#x0003C;</mo>", '<mo lspace="0" rspace="0">&#x0003C;</mo>')  # of subscripts, x_{<t}
        # A bare <math> at the start of a line would end the paragraph.
        return f'<span class="{place}">{math}</span>'

    for page in target.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(outside_code(text, lambda part: FORMULA.sub(formula, part)), encoding="utf-8")


def gallery(root: Path, studies: Sequence[Path]) -> str:
    """The page of all plots of the studies, under the title of each study."""
    parts = ["# Gallery\n\nThe plots of the studies. Each links to the page that explains it."]
    for readme in studies:
        text, folder = readme.read_text(encoding="utf-8"), readme.parent.relative_to(root).as_posix()
        pictures = PICTURE.findall(text)
        if pictures:
            title = text.partition("\n")[0].removeprefix("# ")
            parts.append(f"## {title}")
            parts += [f"[![{alt}]({folder}/{name})]({folder}/README.md)\n\n*{alt}.*" for alt, name in pictures]
    return "\n\n".join(parts) + "\n"


def class_page(name: str) -> str:
    """The reference of a class, with the members that it inherits from classes of arjax."""
    options = (
        "{show_root_full_path: false, show_root_heading: false, inherited_members: true, skip_local_inventory: true}"
    )
    return f"{BEHIND}# {name.rpartition('.')[2]}\n\n`{name}`\n\n::: {name}\n    options: {options}\n"


def api_page(root: Path, package: str, title: str) -> str:
    """The reference of a package: its public names, made from the docstrings of its modules."""
    about, names = [], ["arjax", "arjax.api.trained_model"]
    if package != "arjax":
        files = sorted(root.joinpath(*package.split(".")).rglob("*.py"))
        modules = [path.relative_to(root).with_suffix("").parts for path in files]
        names = [".".join(parts) for parts in modules if not parts[-1].startswith("_")]
        others = [f"{other}." for other in PACKAGES if other.startswith(f"{package}.")]
        names = [name for name in names if not name.startswith(tuple(others))]
        about = [f"::: {package}\n    options: {{members: false}}"]  # its names stand under their modules
    return BEHIND + "\n\n".join([f"# {title}", *about, *(f"::: {name}" for name in names)]) + "\n"


def main(argv: Sequence[str]) -> int:
    """Reads the flags and collects."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="folder of the pages; it is emptied first")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="root of the repository")
    parser.add_argument("--notebooks", type=Path, help="folder of notebooks that have been run, for a page of each")
    parser.add_argument("--plays", type=Path, help="folder of pages that play a model")
    flags = parser.parse_args(argv)
    collect(flags.root, flags.target)
    if flags.plays:
        add_plays(flags.plays, flags.target)
    if flags.notebooks:
        add_notebooks(flags.notebooks, flags.target)
    typeset(flags.target)
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("collect_pages", lambda: main(sys.argv[1:])))
