# Doxygen's input filter for a guide: names its page in the site, and finds images by their names.
BEGIN { named["index"] = "mainpage"; named["data"] = "feeding"; named["distributed"] = "several_processes" }
FNR == 1 {
  page = FILENAME
  gsub(/^.*\/|\.md$/, "", page)
  $0 = $0 " {#" (page in named ? named[page] : page) "}"
}
{
  gsub(/\(\.\.\/images\//, "(")
  print
}
