using System.Net;
using System.Text;
using Google.Protobuf.Reflection;
using Hypervisor.Server.Rest.Sockets;

namespace Hypervisor.Server.Rest.OpenApi;

/// <summary>The API for people: one page of plain HTML that needs nothing from anywhere else.</summary>
internal static class ReferencePage
{
    private const string Style = """
        :root{color-scheme:light dark}
        body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
        code,.path{font-family:ui-monospace,monospace;font-size:.92em}
        section{border-top:1px solid #8886;margin-top:2rem}
        h3{margin:1.6rem 0 .2rem}
        .verb{display:inline-block;min-width:4.2rem;font-weight:700}
        table{border-collapse:collapse;width:100%;margin:.4rem 0 1rem}
        td,th{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #8883}
        td:first-child,td:nth-child(2){white-space:nowrap}
        nav{columns:18rem}
        nav a{display:block}
        """;

    public static string Build(ApiDescription api, string version)
    {
        var page = new StringBuilder();
        page.Append("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Zixiao API</title>")
            .Append("<meta name=\"viewport\" content=\"width=device-width\"><style>").Append(Style).Append("</style></head><body>\n")
            .Append("<h1>Zixiao API ").Append(Text(version)).Append("</h1>\n")
            .Append("<p>The same methods as over gRPC, as <a href=\"/openapi.json\">OpenAPI 3</a> too. JSON is protobuf's: 64-bit integers are ")
            .Append("strings, times are RFC 3339. Unknown fields and query parameters are refused. Errors are <code>google.rpc.Status</code>. ")
            .Append("Streams are one JSON object per line; when one ends by an error, its last line is <code>{\"error\": …}</code>.</p>\n<nav>\n");
        foreach (var (method, _) in api.Methods)
        {
            page.Append("<a href=\"#").Append(method.Name).Append("\">").Append(method.Name).Append("</a>\n");
        }

        page.Append("</nav>\n");
        foreach (var service in api.Services)
        {
            page.Append("<section><h2>").Append(service.Name).Append("</h2>").Append(Paragraphs(ApiDescription.Comment(service)));
            foreach (var (method, binding) in api.Methods.Where(entry => entry.Method.Service == service))
            {
                Method(page, method, binding);
            }

            page.Append("</section>\n");
        }

        page.Append("<section><h2>WebSockets</h2>").Append(Paragraphs(SocketRoutes.About));
        foreach (var (route, query) in api.Sockets)
        {
            page.Append("<h3>").Append(route.Method.Split('/')[^1]).Append("</h3><p class=\"path\"><span class=\"verb\">GET</span>")
                .Append(Text(route.Binding.Path.Plain())).Append("</p>");
            Fields(page, query.Fields.InDeclarationOrder());
        }

        page.Append("</section>\n<section><h2>Messages</h2>\n");
        foreach (var message in api.Messages())
        {
            page.Append("<h3 id=\"").Append(message.FullName).Append("\">").Append(message.Name).Append("</h3>")
                .Append(Paragraphs(ApiDescription.Comment(message)));
            Fields(page, message.Fields.InDeclarationOrder());
        }

        return page.Append("</section></body></html>\n").ToString();
    }

    private static void Method(StringBuilder page, MethodDescriptor method, HttpBinding binding)
    {
        page.Append("<h3 id=\"").Append(method.Name).Append("\">").Append(method.Name).Append("</h3><p class=\"path\"><span class=\"verb\">")
            .Append(binding.Verb).Append("</span>").Append(Text(binding.Path.Plain())).Append("</p>")
            .Append(Paragraphs(ApiDescription.Comment(method)));
        if (binding.HasBody)
        {
            page.Append("<p>Body: ").Append(Link(method.InputType)).Append("</p>");
        }
        else
        {
            page.Append(Paragraphs(ApiDescription.Comment(method.InputType)));
            Fields(page, [.. method.InputType.Fields.InDeclarationOrder()]);
        }

        page.Append("<p>Answer: ").Append(Link(method.OutputType)).Append(method.IsServerStreaming ? ", one per line" : "").Append("</p>\n");
    }

    private static void Fields(StringBuilder page, IList<FieldDescriptor> fields)
    {
        if (fields.Count == 0)
        {
            return;
        }

        page.Append("<table>");
        foreach (var field in fields)
        {
            page.Append("<tr><td><code>").Append(Text(field.JsonName)).Append("</code></td><td>").Append(Type(field)).Append("</td><td>")
                .Append(Paragraphs(ApiDescription.Comment(field)));
            if (field.FieldType == FieldType.Enum)
            {
                page.Append("<table>");
                foreach (var value in field.EnumType.Values)
                {
                    page.Append("<tr><td><code>").Append(value.Name).Append("</code></td><td>")
                        .Append(Text(ApiDescription.Comment(value))).Append("</td></tr>");
                }

                page.Append("</table>");
            }

            page.Append("</td></tr>\n");
        }

        page.Append("</table>\n");
    }

    private static string Type(FieldDescriptor field)
    {
        var value = field.IsMap ? field.MessageType.FindFieldByNumber(2) : field;
        var name = value.FieldType switch
        {
            FieldType.Message => Link(value.MessageType),
            FieldType.Enum => Text(value.EnumType.Name),
            FieldType.Int64 or FieldType.UInt64 => "int64 (string)",
            FieldType.Bytes => "base 64",
            var other => Text(other.ToString().ToLowerInvariant()),
        };
        return field.IsMap ? $"names to {name}" : field.IsRepeated ? $"list of {name}" : name;
    }

    private static string Link(MessageDescriptor type) => FieldPath.IsPlainInJson(type)
        ? $"{Text(type.Name.ToLowerInvariant())} (string)"
        : $"<a href=\"#{type.FullName}\">{Text(type.Name)}</a>";

    private static string Paragraphs(string text) => text.Length == 0
        ? ""
        : string.Concat(text.Split("\n\n").Select(paragraph => $"<p>{Text(paragraph)}</p>"));

    private static string Text(string text) => WebUtility.HtmlEncode(text);
}
