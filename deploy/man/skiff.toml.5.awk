# Makes skiff.toml(5) of deploy/skiff.toml: each key with its default, and the comment above it.
#     awk -f skiff.toml.5.awk skiff.toml >skiff.toml.5

# Text in short lines, a new one for each sentence, as mdoc(7) wants it.
function put(text,    words, n, i, line) {
        n = split(text, words, " ")
        line = ""
        for (i = 1; i <= n; i++) {
                word = words[i]
                gsub(/\\/, "\\e", word)
                gsub(/-/, "\\-", word)
                if (line == "" && word ~ /^[.']/)
                        word = "\\&" word
                if (line != "" && length(line) + length(word) > 72) {
                        print line
                        line = ""
                }
                line = line == "" ? word : line " " word
                if (word ~ /[a-z)"`0-9][.?!]$/) {
                        print line
                        line = ""
                }
        }
        if (line != "")
                print line
}

function key_of(line) { return substr(line, 1, index(line, " = ") - 1) }

BEGIN {
        print ".Dd November 28, 2026"
        print ".Dt SKIFF.TOML 5"
        print ".Os"
        print ".Sh NAME"
        print ".Nm skiff.toml"
        print ".Nd options of the node runtime skiffd"
        print ".Sh SYNOPSIS"
        print ".Nm /etc/skiff/skiff.toml"
        print ".Nm /etc/skiff/skiff.toml.d/*.toml"
        print ".Sh DESCRIPTION"
        text = ""
        head = 1
}

/^#/ {
        sub(/^# ?/, "")
        if ($0 == "") { # a new paragraph of the head
                put(text)
                print ".Pp"
                text = ""
        } else
                text = text == "" ? $0 : text " " $0
        next
}

/^$/ {
        if (head) {
                put(text)
                print ".Sh OPTIONS"
                print ".Bl -tag -width Ds"
        }
        head = 0
        text = ""
        next
}

/ = / {
        key = key_of($0)
        value = substr($0, index($0, " = ") + 3)
        gsub(/"/, "\\(dq", value)
        gsub(/-/, "\\-", value)
        print ".It Ic " key " = " value
        if (text != "")
                put(text)
        next
}

END {
        print ".El"
        print ".Sh SEE ALSO"
        print ".Xr skiff 1 ,"
        print ".Xr skiffd 8"
}
