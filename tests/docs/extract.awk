# extract.awk -v out=FOLDER PAGE.md...: turns the ```cpp blocks of Markdown pages into C++ sources.
# - A block with `int main(` is a program: FOLDER/PAGE_LINE_program.cpp.
# - All other blocks of a page become one source, FOLDER/PAGE_blocks.cpp. Its includes move to the top. A block that
#   begins with a declaration (class, struct, template, or a function) becomes a namespace, any other the body of a
#   function; both see the names of prelude.hpp. #line directives point errors at the page.
# The sources that were written are printed, one per line.
function flush_page(   i) {
  if (page == "" || blocks == 0) return
  target = out "/" page "_blocks.cpp"
  printf "%s", "#include \"prelude.hpp\"\n" includes body > target
  close(target)
  print target
}
FNR == 1 {
  flush_page()
  page = FILENAME
  sub(/^.*\//, "", page)
  sub(/\.md$/, "", page)
  includes = body = ""
  blocks = 0
}
/^```cpp$/ { inside = 1; start = FNR + 1; text = ""; headers = ""; program = 0; kind = ""; next }
/^```$/ && inside {
  inside = 0
  line = "#line " start " \"" FILENAME "\"\n"
  if (program) {
    target = out "/" page "_" start "_program.cpp"
    printf "%s", line headers text > target
    close(target)
    print target
    next
  }
  ++blocks
  includes = includes headers
  name = "block_" start
  if (kind == "declaration")
    body = body "namespace " name " {\nusing namespace prelude;\n" line text "}  // namespace " name "\n"
  else
    body = body "inline void " name "() {\nusing namespace prelude;\n" line text "}\n"
  next
}
inside {
  if ($0 ~ /^#include/) { headers = headers $0 "\n"; text = text "\n"; next }
  if ($0 ~ /^int main\(/) program = 1
  if (kind == "" && $0 !~ /^ *(\/\/.*)?$/)
    kind = ($0 ~ /^(class|struct|template|enum) / || $0 ~ /^[a-z][A-Za-z0-9_:]* [a-z_0-9]+\(.*\) \{( *\/\/.*)?$/) ? "declaration" : "statement"
  text = text $0 "\n"
}
END { flush_page() }
