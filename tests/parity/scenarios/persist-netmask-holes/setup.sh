ipvsadm -A -t 192.0.2.10:80 -s rr -p 60 -M 255.0.255.0
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -m
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.13:80 -m
ipvsadm -A -u 192.0.2.11:53 -s rr -p 30 -M 0.0.0.255
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.14:53 -g
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.15:53 -g
iptables -t mangle -A PREROUTING -d 192.0.2.12 -p tcp -m multiport --dports 80,443 -j MARK --set-mark 7
ipvsadm -A -f 7 -s wlc -p 120 -M 255.255.255.253
ipvsadm -a -f 7 -r 198.51.100.16:0 -m
ipvsadm -a -f 7 -r 198.51.100.17:0 -m
