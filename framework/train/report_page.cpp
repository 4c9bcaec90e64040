// The page template and style sheet of reports.
#include "retort/framework/train/report_impl.hpp"

namespace retort::detail {

const char* const report_page = R"page(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {
  color-scheme: light dark;
  --ground: #fbfbfa; --card: #ffffff; --ink: #1c1f23;
  --faint: #5c636b; --line: #d9dcdf;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --card: #1c2024; --ink: #e4e7ea;
    --faint: #a0a8b0; --line: #363c42;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1400px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.6rem 0 0; }
h2 { font-size: 1.2rem; margin: 0 0 0.2rem; }
section { margin-top: 2.2rem; }
section > p { max-width: 75ch; margin: 0 0 0.8rem; color: var(--faint); }
p.tiles { margin: 0.8rem 0 0.3rem; color: var(--faint); }
div.tiles { display: grid; grid-template-columns: repeat(3, minmax(0, 210px)); gap: 14px; }
.tiles div { padding: 10px 12px; background: var(--card); border: 1px solid; border-left-width: 6px;
  border-radius: 8px;
  line-height: 1.25; }
.tiles b { display: block; font-size: clamp(1.3rem, 6vw, 2.1rem); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { font-weight: 500; text-align: left; }
.scroll { overflow-x: auto; }
.scroll + .grid, .grid + .scroll, .scroll + .scroll { margin-top: 14px; }
figure:has(svg[style]) { grid-column: 1 / -1; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 390px), 1fr)); gap: 14px; }
.narrow { grid-template-columns: repeat(auto-fill, minmax(min(100%, 245px), 1fr)); }
figure { margin: 0; padding: 12px; background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; min-width: 0; }
figcaption { font-weight: 600; font-size: 0.95rem; margin-bottom: 0.4rem; }
svg { display: block; width: 100%; height: auto; }
svg [stroke="black"] { stroke: var(--ink); }
svg [color="black"] { color: var(--ink); }
svg text { fill: var(--ink); font-family: system-ui, sans-serif; }
.chart text { font-size: 12px; }
.legend span { display: inline-block; margin-right: 1.2em; white-space: nowrap; }
.legend i, li i { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 2px;
  margin-right: 0.4em; }
.note { padding: 10px 12px; border: 1px dashed var(--faint); border-radius: 8px; }
.result th, .result td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.result small { color: var(--faint); font-size: 0.85em; display: inline-block; }
@media (max-width: 600px) {
  .result, .tiles { font-size: 0.85rem; }
  .result th, .result td { padding-right: 8px; }
}
.confusion { font-size: 0.75rem; width: 100%; table-layout: fixed; }
.confusion td { text-align: center; padding: 0; height: 1.9rem; min-width: 1.4rem;
  border: 1px solid var(--line); }
.confusion tr:first-child td { border: 0; }
.confusion th { white-space: nowrap; padding-right: 6px; }
.confusion tr:first-child th { padding: 0 0 4px; vertical-align: bottom; text-align: center; }
.confusion th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.confusion tr > :first-child { width: 4.8rem; }
.right { background: rgb(58 133 200 / var(--share)); }
.wrong { background: rgb(208 113 44 / var(--share)); }
.rule { stroke: var(--line); }
.axis { stroke: var(--faint); }
.frame { fill: none; stroke: var(--line); }
.legend { margin: 0 0 0.3rem; font-size: 0.8rem; }
.quote { margin: 0; font-size: 0.85rem; overflow-wrap: anywhere; }
.sample > div { display: flex; gap: 8px; align-items: flex-start; margin-bottom: 10px; }
.sample img { image-rendering: pixelated; border-radius: 4px; flex: none; }
.sample ul { list-style: none; margin: 0; padding: 0; font-size: 0.75rem; }
.bars { width: 100%; font-size: 0.75rem; line-height: 1.2; }
.bars th { width: 5.5rem; padding: 2px 6px 2px 0; color: var(--faint); }
.bars td { padding: 2px 0; border-left: 1px solid var(--line); }
.bars i { display: block; height: 4px; }
.truth th { color: var(--ink); font-weight: 700; }
.settings { font-size: 0.85rem; width: 100%; }
.settings th { padding: 2px 12px 2px 0; vertical-align: top; color: var(--faint); }
.settings td { overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{sections}</main>
</body>
</html>
)page";

}  // namespace retort::detail
