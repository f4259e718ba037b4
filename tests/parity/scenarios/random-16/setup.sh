ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -u 192.0.2.11:80 -s fo -p 60 -o
ipvsadm -a -u 192.0.2.11:80 -r 198.51.100.16:80 -m -w 1
ipvsadm -a -u 192.0.2.11:80 -r 198.51.100.15:0 -m -w 1
ipvsadm -a -u 192.0.2.11:80 -r 198.51.100.13:80 -m -w 2 -x 3 -y 0
ipvsadm -a -u 192.0.2.11:80 -r 198.51.100.14:80 -m -w 5
ipvsadm -A -t 192.0.2.11:80 -s sh -p 30 -b sh-fallback,sh-port
ipvsadm -a -t 192.0.2.11:80 -r [2001:db8:2::11]:80 -i -w 2
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.12:0 -m -w 100
sysctl -w net.ipv4.vs.lblc_expiration=86400
sysctl -w net.ipv4.vs.nat_icmp_send=1
sysctl -w net.ipv4.vs.sloppy_tcp=0
