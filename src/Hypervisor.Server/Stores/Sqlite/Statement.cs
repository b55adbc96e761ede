using System.Text;
using SQLitePCL;

namespace Hypervisor.Server.Stores.Sqlite;

/// <summary>A prepared statement that is used again and again by one thread at a time. Parameters count from 1, columns from 0.</summary>
internal sealed class Statement(Database database, sqlite3_stmt handle) : IDisposable
{
    public Statement Bind(int parameter, long value)
    {
        database.Check(raw.sqlite3_bind_int64(handle, parameter, value));
        return this;
    }

    public Statement Bind(int parameter, string text)
    {
        Span<byte> utf8 = stackalloc byte[Encoding.UTF8.GetMaxByteCount(Math.Min(text.Length, StoreLimits.MaxKeyBytes + 1))];
        var length = Encoding.UTF8.GetBytes(text, utf8);
        database.Check(raw.sqlite3_bind_text(handle, parameter, utf8[..length]));
        return this;
    }

    public Statement Bind(int parameter, ReadOnlySpan<byte> blob)
    {
        database.Check(blob.IsEmpty ? raw.sqlite3_bind_zeroblob(handle, parameter, 0) : raw.sqlite3_bind_blob(handle, parameter, blob));
        return this;
    }

    /// <summary>True while there is a row; after the last one the statement is ready for the next use.</summary>
    public bool Step()
    {
        var code = raw.sqlite3_step(handle);
        if (code == raw.SQLITE_ROW)
        {
            return true;
        }

        // reset returns the step's error again, which has been looked at.
        raw.sqlite3_reset(handle);
        database.Check(code);
        return false;
    }

    /// <summary>For statements without rows.</summary>
    public void Run() => Step();

    /// <summary>Leaves the remaining rows.</summary>
    public void Reset() => raw.sqlite3_reset(handle);

    public long Int64(int column) => raw.sqlite3_column_int64(handle, column);

    /// <summary>Valid until the next step.</summary>
    public ReadOnlySpan<byte> Bytes(int column) => raw.sqlite3_column_blob(handle, column);

    public string Text(int column) => Encoding.UTF8.GetString(raw.sqlite3_column_blob(handle, column));

    public void Dispose() => handle.Dispose();
}
