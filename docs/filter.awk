# Doxygen's input filter for a public header.
# - Its declarations join the group of its folder.
# - A comment is shared by all declarations that follow it without a blank line between them.
# - The headings "Shapes:", "Edge cases:" and "Throws:" of a comment become sections.
# - Namespace detail, deleted and defaulted members, destructors and friends are left out.
# Lines keep their numbers.
{ line[NR] = $0 }

function count(text, pattern,   copy) { copy = text; return gsub(pattern, "", copy) }

function sections(text) {
  sub(/\/\/\/ Shapes: */, "/// @shapes ", text)
  sub(/\/\/\/ Edge cases: */, "/// @edges ", text)
  sub(/\/\/\/ Throws: */, "/// @raises ", text)
  return text
}

END {
  file = FILENAME
  sub(/^.*framework\//, "framework/", file)
  sub(/^.*losses\//, "losses/", file)
  sub(/^.*optim\//, "optim/", file)
  parts_count = split(file, parts, "/")
  group = (parts[1] == "framework" && parts_count > 2) ? parts[2] : parts[1]

  for (i = 1; i <= NR; ++i) {
    text = line[i]
    if (text ~ /^namespace (retort::)?detail \{/) hidden = 1
    if (hidden) {
      if (text ~ /^}  \/\/ namespace (retort::)?detail/) hidden = 0
      print ""
      continue
    }
    if (text ~ /^namespace retort(::[a-z_]+)? \{/) {
      print text " /** @addtogroup " group " */ /** @{ */"
      continue
    }
    if (text ~ /^}  \/\/ namespace retort(::[a-z_]+)?$/) {
      print "/** @} */ " text
      continue
    }
    if (text ~ / = delete;| = default;|^  (virtual )?~[A-Za-z]+\(|NoOptions>/ ||
        (text ~ /^ *friend / && count(text, "\\{") == count(text, "\\}") && text ~ /[;}]$/)) {
      print ""
      continue
    }
    if (text ~ /^ *\/\/\/( |$)/) {  # a comment, and what it says
      gsub(/#include/, "include", text)  # a # would be a link
      if (!in_comment) said = ""
      in_comment = 1
      said = said " " substr(sections(text), index(text, "///") + 3)
      declarations = 0
      depth = 0
      fresh = 1
      print sections(text)
      continue
    }
    in_comment = 0
    if (text ~ /^ *$/ || text ~ /^ *(public|private|protected):/ || text ~ /^ *\/\// || text ~ /^ *}/ && depth <= 0) {
      said = ""
      depth = 0
      fresh = 1
      print text
      continue
    }
    prefix = ""
    if (said != "" && fresh && declarations > 0 && text !~ /\/\/\/<|^ *#|^ *[{]/) prefix = "/** " said " */ "
    code = text
    sub(/\/\/.*/, "", code)
    opened = count(code, "[({]") - count(code, "[)}]")
    depth += opened
    # A class or struct has its own comments inside.
    if (code ~ /^ *(template.*)?(class|struct|enum class|enum) .*\{ *$/) said = ""
    fresh = depth == 0 && code ~ /[;}] *$/
    if (fresh) ++declarations
    print prefix text
  }
}
