# Doxygen's input filter for a public header.
# - Its declarations join the group of its folder.
# - Overloads of one name, and operators, share a comment if they follow it without a blank line between them.
# - The class comment covers constructors, operator(), parameters of modules and what containers and iterators have in
#   the standard library; `struct XOptions` without a comment is documented as the options of X.
# - The headings "Shapes:", "Edge cases:", "Throws:" and "Source:" of a comment become sections.
# - Namespace detail, deleted and defaulted members, destructors and friends are left out.
# Lines keep their numbers.
{ line[NR] = $0 }

function count(text, pattern,   copy) { copy = text; return gsub(pattern, "", copy) }

# The start of a move constructor of the class.
function moving() { return "^ *" class "\\(" class " ?&& ?" }

# The comment of a declaration that the comment of its class covers; empty for any other.
function covered(text) {
  if (text ~ /^ *struct [A-Za-z0-9]+Options \{/) {
    match(text, /[A-Za-z0-9]+Options/)
    return "Options of " substr(text, RSTART, RLENGTH - 7) "."
  }
  if (text ~ /^using [A-Za-z0-9]+Options = /) return "Options of the class of that name."
  if (class == "") return ""
  if (text ~ moving()) return "Moves it."
  if (text ~ "^ *((explicit|constexpr) )*" class "\\(") return "Constructs it; see the comment of the class."
  if (text ~ / operator=\(/) return "Assigns it."
  if (text ~ / operator\(\)\(/) return "Calls it; see the comment of the class."
  if (text ~ /^  (Tensor|Buffer) [a-z_, ]+;/) return "Parameter or buffer of the module."
  if (text ~ /^  .*[ &*](size|empty|begin|end|front|back|data|at|find|contains|count|insert|erase|push_back|pop_back|clear|resize)\(/ ||
      text ~ /^  using (value_type|iterator|const_iterator|difference_type|pointer|reference|iterator_category) = / ||
      text ~ / operator(\[\]|\*|->|\+\+|--)\(/)
    return "As in the containers and iterators of the standard library."
  return ""
}

# The name that the declaration at line number i declares.
function declared(i,   text) {
  text = line[i]
  if (text ~ /^ *template <.*> *$/) text = line[i + 1]
  sub(/^ *template <[^>]*>/, "", text)
  gsub(/\[\[[a-z_]+(\([^)]*\))?\]\]/, "", text)
  if (text ~ /operator[^A-Za-z0-9_]/) return "operator"
  sub(/ *([=({;]|: ).*/, "", text)
  sub(/^.*[ &*]/, "", text)
  return text
}

function sections(text) {
  sub(/\/\/\/ Shapes: */, "/// @shapes ", text)
  sub(/\/\/\/ Edge cases: */, "/// @edges ", text)
  sub(/\/\/\/ Throws: */, "/// @raises ", text)
  sub(/\/\/\/ Sources?: */, "/// @source ", text)
  return text
}

END {
  file = FILENAME
  sub(/^.*framework\//, "framework/", file)
  sub(/^.*losses\//, "losses/", file)
  sub(/^.*optim\//, "optim/", file)
  parts_count = split(file, parts, "/")
  group = (parts[1] == "framework" && parts_count > 2) ? parts[2] : parts[1]

  fresh = 1
  for (i = 1; i <= NR; ++i) {
    text = line[i]
    sub(/^namespace \[\[RETORT_EXPORT\]\]/, "namespace", text)
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
    if (text ~ /^};/) class = ""
    if (text ~ /^ *$/ || text ~ /^ *(public|private|protected):/ || text ~ /^ *\/\// || text ~ /^ *}/ && depth <= 0) {
      said = ""
      depth = 0
      fresh = 1
      print text
      continue
    }
    prefix = ""
    if (fresh && text !~ /^ *#|^ *[{]/) {
      if (declarations > 0 && declared(i) != name || class != "" && text ~ moving()) said = ""
      name = declared(i)
    }
    if (said != "" && fresh && declarations > 0 && text !~ /\/\/\/<|^ *#|^ *[{]/) prefix = "/** " said " */ "
    if (prefix == "" && fresh && said == "" && (extra = covered(text)) != "")
      prefix = "/** " extra " */ "
    if (text ~ /^  (Tensor|Buffer) [a-z_]+, [a-z_, ]+;/) {  # one declaration for each name
      match(text, /(Tensor|Buffer)/)
      type = substr(text, RSTART, RLENGTH)
      gsub(/, /, "; /** " extra " */ " type " ", text)
    }
    if (text ~ /^(class|struct) [A-Za-z0-9]+/) {
      class = text
      sub(/^(class|struct) /, "", class)
      sub(/[^A-Za-z0-9].*/, "", class)
    }
    code = text
    gsub(/"[^"]*"/, "", code)
    sub(/\/\/.*/, "", code)
    opened = count(code, "[({]") - count(code, "[)}]")
    depth += opened
    # A class or struct has its own comments inside.
    if (code ~ /^ *(template.*)?(class|struct|enum class|enum) .*\{ *$/) {
      said = ""
      depth = 0
      fresh = 1
      print prefix text
      continue
    }
    fresh = depth == 0 && code ~ /[;}] *$/
    if (fresh) ++declarations
    print prefix text
  }
}
