package policy

import "strings"

// NormalizePath returns a request's path as it is judged and forwarded, and the query as
// it came: what Envoy makes of it with normalize_path and merge_slashes. False is a path
// that no proxy takes, whatever the rules and their mode are: with a fragment, with a byte
// that is not printable ASCII or an escaped NUL, or that does not begin with a slash.
func NormalizePath(target string) (string, bool) {
	path, query := target, ""
	if i := strings.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	if !printable(target) || strings.Contains(target, "#") || !strings.HasPrefix(path, "/") || strings.Contains(path, "%00") {
		return "", false
	}
	return mergeSlashes(removeDots(canonicalBytes(stripDotParameters(path)))) + query, true
}

func printable(target string) bool {
	return !strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// stripDotParameters takes the parameters from "..;a=b" and ".;a=b": servers that ignore
// them would see a segment of dots.
func stripDotParameters(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		switch {
		case strings.HasPrefix(s, "..;"):
			segments[i] = ".."
		case strings.HasPrefix(s, ".;"):
			segments[i] = "."
		}
	}
	return strings.Join(segments, "/")
}

// canonicalBytes decodes the escapes of unreserved bytes, once, and escapes the bytes
// that no path may hold. A backslash is a slash. A bad escape stays as it is.
func canonicalBytes(path string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '\\':
			b.WriteByte('/')
		case c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]):
			if u := unhex(path[i+1])<<4 | unhex(path[i+2]); isUnreserved(u) {
				b.WriteByte(u)
			} else {
				b.WriteString(path[i : i+3])
			}
			i += 2
		case strings.IndexByte("\"<>^`{|}", c) >= 0:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("-._~", c) >= 0
}

func isHex(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// removeDots removes the segments "." and ".."; ".." takes the segment before it away, be it empty.
func removeDots(path string) string {
	segments := strings.Split(path, "/")[1:]
	var out []string
	for i, s := range segments {
		switch s {
		case ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
			continue
		}
		if i == len(segments)-1 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

// mergeSlashes leaves two slashes of a path of nothing but slashes, as Envoy does.
func mergeSlashes(path string) string {
	if len(path) > 1 && strings.Trim(path, "/") == "" {
		return "//"
	}
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}
