import java.io.IOException;
import java.net.Socket;
import java.net.UnknownHostException;

/** Looks a name up and connects to port 80 of what it is told: Connect.java NAME. */
public class Connect {
    public static void main(String[] args) {
        try (Socket s = new Socket(args[0], 80)) {
            System.out.println("connected");
        } catch (UnknownHostException e) {
            System.out.println("no address: " + e.getMessage());
        } catch (IOException e) {
            System.out.println("not connected: " + e.getMessage());
        }
    }
}
