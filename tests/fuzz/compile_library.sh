#!/bin/sh
# compile_library.sh ROOT FOLDER OBJECT DEPFILE COMPILER...: the .cc files of a folder, but those with a main(), as one
# object. Names in anonymous namespaces are unique within a library, so they may be one unit; their headers are read once.
set -e
root=$1 folder=$2 object=$3 depfile=$4
shift 4
for file in "$root/$folder"/*.cc; do
  grep -q '^int main(' "$file" || echo "#include \"${file#"$root"/}\""
done > "$object.cc.new"
# Written only when it changes, for the sake of a compiler cache.
cmp -s "$object.cc.new" "$object.cc" || cp "$object.cc.new" "$object.cc"
rm "$object.cc.new"
exec "$@" -MMD -MF "$depfile" -MT "$object" -c "$object.cc" -o "$object"
