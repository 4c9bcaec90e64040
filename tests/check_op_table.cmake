# Fails when a public operation has no row in the op table (op_cases.hpp): run as
#   cmake -D SOURCE_DIR=<root of the repository> -P tests/check_op_table.cmake
#
# An operation is a function that returns a Tensor (or ValuesAndIndices) and is declared at the start of a
# line, outside namespace detail, in framework/ops, losses or framework/core/engine_ops.hpp. A row names it
# first thing: `.name = "exp"`, or through a helper of the table's parts, as in `comparison("less", …)`.
cmake_minimum_required(VERSION 3.25)

file(GLOB headers "${SOURCE_DIR}/framework/ops/*.hpp" "${SOURCE_DIR}/losses/*.hpp")
list(APPEND headers "${SOURCE_DIR}/framework/core/engine_ops.hpp")
file(GLOB tables "${SOURCE_DIR}/tests/framework/ops/*_cases.cpp" "${SOURCE_DIR}/tests/losses/*_cases.cpp")

set(rows)
foreach(table IN LISTS tables)
  file(READ "${table}" text)
  string(REGEX MATCHALL "(\\.name = |(comparison|reduction|row|test)\\([ \n]*)\"[a-z0-9_]+\"" found "${text}")
  foreach(row IN LISTS found)
    string(REGEX REPLACE ".*\"(.*)\"" "\\1" row "${row}")
    list(APPEND rows "${row}")
  endforeach()
endforeach()

set(results "(\\[\\[nodiscard\\]\\] )?(inline )?(Tensor|ValuesAndIndices)")
set(missing)
set(count 0)
foreach(header IN LISTS headers)
  set(internal FALSE)
  file(STRINGS "${header}" lines REGEX "^(namespace|}  // namespace|${results}) ")
  foreach(line IN LISTS lines)
    if(line MATCHES "^namespace (retort::)?detail")
      set(internal TRUE)
    elseif(line MATCHES "^}  // namespace (retort::)?detail")
      set(internal FALSE)
    elseif(NOT internal AND line MATCHES "^${results} ([a-z][a-z0-9_]*)\\(")
      math(EXPR count "${count} + 1")
      if(NOT CMAKE_MATCH_4 IN_LIST rows)
        list(APPEND missing "${CMAKE_MATCH_4} (${header})")
      endif()
    endif()
  endforeach()
endforeach()

if(count EQUAL 0)
  message(FATAL_ERROR "No operation was found below ${SOURCE_DIR}: is SOURCE_DIR the root of the repository?")
endif()
list(REMOVE_DUPLICATES missing)
if(missing)
  list(JOIN missing "\n  " missing)
  message(FATAL_ERROR "Operations without a row in the op table (see tests/op_cases.hpp):\n  ${missing}")
endif()
message(STATUS "${count} declarations of operations, each with a row in the op table")
