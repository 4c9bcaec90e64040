// A shared library exports the namespaces that public headers open as `namespace [[RETORT_EXPORT]]`.
// Everything else is hidden.
#pragma once

#define RETORT_EXPORT gnu::visibility("default")
